-- Remove tombstones that Postgres has and that owe nothing.
--
-- ARGV  [2] their age in seconds; [3] how many at most
-- Found how many

local removed = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', ENDED, '-inf', now - tonumber(ARGV[2]), 'LIMIT', 0, ARGV[3])) do
    if redis.call('HEXISTS', DELIVERY, id) == 1 or redis.call('ZSCORE', DIRTY, id) then
        redis.call('ZADD', ENDED, now, id)
    else
        local row = row_of(id)
        if row then
            redis.call('SREM', known(row), id)
        end
        redis.call('HDEL', ROWS, id)
        redis.call('ZREM', ENDED, id)
        removed = removed + 1
    end
end
return answer(removed)
