-- Give up marks that nobody will clear: `clear_marks_v1` has the rules.
--
-- ARGV  [2] how many at most; [3] seconds from now until when a mark of the dead may be awaited; then the dead
-- Found how many

local limit = tonumber(ARGV[2])
local dead = {}
for i = 4, #ARGV do
    dead[ARGV[i]] = true
end
local cleared = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', MARKS, '-inf', now + math.max(0, tonumber(ARGV[3])))) do
    local delivery = delivery_of(id)
    if not delivery then
        redis.call('ZREM', MARKS, id)
    elseif cleared < limit
        and (delivery[Y.outstanding_until] <= now or dead[delivery[Y.outstanding_notifier]]) then
        clear_mark(id, delivery)
        delivery[Y.owed] = 1
        put_delivery(id, delivery)
        owe(id, now)
        changed(id)
        cleared = cleared + 1
    end
end
return answer(cleared)
