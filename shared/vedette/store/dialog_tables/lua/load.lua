-- Fill a bucket that was not loaded from what Postgres has.
--
-- ARGV  [2] a token of this load; [3] 1: this is the last part; [4] what new dialogs begin their CSeq with; then one
--       for each dialog: row, delivery (false: none), its CSeq above all that may have been used
-- Found how many were taken: none, where the bucket has been loaded

if epoch >= asked then
    return answer(0)
end
if redis.call('HGET', BUCKET, 'loading') ~= ARGV[2] then
    -- What an earlier epoch, or a load that broke off, has left.
    local all = redis.call('HGETALL', ROWS)
    for i = 2, #all, 2 do
        local row = cmsgpack.unpack(all[i])
        redis.call('DEL', at(row), of(row), known(row))
    end
    redis.call('DEL', BUCKET, ROWS, DELIVERY, EXPIRES, ENDED, MARKS, OWED, DIRTY, COUNTS)
    redis.call('HSET', BUCKET, 'loading', ARGV[2])
end
for i = 5, #ARGV do
    local row, delivery = unpack(cmsgpack.unpack(ARGV[i]))
    local id = row[D.dialog_id]
    put_row(id, row)
    add(id, row)
    if delivery then
        put_delivery(id, delivery)
        redis.call('SADD', at(row), id)
        if owes(delivery) then
            owe(id, now)
        end
    end
end
if ARGV[3] == '1' then
    redis.call('HSET', BUCKET, 'epoch', asked, 'run', run, 'start', ARGV[4])
    redis.call('HDEL', BUCKET, 'loading')
end
return answer(#ARGV - 4)
