-- The dialogs that owe a NOTIFY now.
--
-- ARGV  [2] how many at most
-- Found for each dialog: id, presentity, event

local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', OWED, '-inf', now, 'LIMIT', 0, ARGV[2])) do
    local row = row_of(id)
    if row and redis.call('HEXISTS', DELIVERY, id) == 1 then
        found[#found + 1] = {id, row[D.presentity_uri], row[D.event], row[D.presentity_hash]}
    else
        redis.call('ZREM', OWED, id)
    end
end
return answer(found)
