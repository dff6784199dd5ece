-- Take the buckets whose time has come. Whoever took one looks at it and puts down its next time.
--
-- KEYS[1] zset: buckets by when they are to be looked at; ARGV [1] how many at most
-- Found   the buckets

local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
if #due > 0 then
    redis.call('ZREM', KEYS[1], unpack(due))
end
return due
