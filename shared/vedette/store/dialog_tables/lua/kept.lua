-- Postgres has these dialogs now.
--
-- ARGV  three for each: id, number of the change that it has, CSeq that it has ('': none)
-- Found how many have not changed since

local clean = 0
for i = 2, #ARGV, 3 do
    local id = ARGV[i]
    if redis.call('ZSCORE', DIRTY, id) == ARGV[i + 1] then
        redis.call('ZREM', DIRTY, id)
        clean = clean + 1
    end
    local delivery = ARGV[i + 2] ~= '' and delivery_of(id)
    if delivery then
        delivery[Y.kept_cseq] = tonumber(ARGV[i + 2])
        put_delivery(id, delivery)
        if delivery[Y.not_before] <= now and redis.call('ZSCORE', OWED, id) then
            -- It may have been held back until now.
            owe(id, now)
        end
    end
end
return answer(clean)
