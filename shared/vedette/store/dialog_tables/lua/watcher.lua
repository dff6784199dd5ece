-- The dialogs that a watcher has, each until its end.
--
-- KEYS[1] zset; ARGV [1] how many dialogs to forget, and these; then two for each dialog to hold: its end, its id
-- Found   how many there are now

local clock = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', clock[1])
local forget = tonumber(ARGV[1])
for i = 2, 1 + forget do
    redis.call('ZREM', KEYS[1], ARGV[i])
end
for i = 2 + forget, #ARGV, 2 do
    redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i + 1])
end
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
if last then
    redis.call('EXPIREAT', KEYS[1], math.ceil(tonumber(last)) + 1)
end
return redis.call('ZCARD', KEYS[1])
