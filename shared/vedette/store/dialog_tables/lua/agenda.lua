-- A bucket was looked at: it comes again at its next time, unless somebody has put it down anew meanwhile.
--
-- KEYS[1] zset: buckets by when they are to be looked at; ARGV then three for each bucket: bucket, the time that was
--         seen, its next time ('': none)

for i = 1, #ARGV, 3 do
    local bucket, seen, next = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    if tonumber(redis.call('ZSCORE', KEYS[1], bucket) or -1) == tonumber(seen) then
        redis.call('ZREM', KEYS[1], bucket)
    end
    if next ~= '' then
        redis.call('ZADD', KEYS[1], 'LT', next, bucket)
    end
end
return 0
