-- The dialogs that Postgres does not have as they are, the longest first.
--
-- ARGV  [2] how many at most
-- Found the time; for each: id, number of its last change, row, delivery ('': none)

local found = {}
local dirty = redis.call('ZRANGE', DIRTY, 0, tonumber(ARGV[2]) - 1, 'WITHSCORES')
for i = 1, #dirty, 2 do
    local id = dirty[i]
    local row = redis.call('HGET', ROWS, id)
    if row then
        found[#found + 1] = {id, dirty[i + 1], row, redis.call('HGET', DELIVERY, id) or ''}
    else
        redis.call('ZREM', DIRTY, id)
    end
end
return answer({string.format('%.6f', now), found})
