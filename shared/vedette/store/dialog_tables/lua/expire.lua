-- End the dialogs whose time is over.
--
-- ARGV  [2] how many at most
-- Found for each: its row

local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', EXPIRES, '-inf', now, 'LIMIT', 0, ARGV[2])) do
    local row, delivery = row_of(id), delivery_of(id)
    if row then
        finish(id, row, 'timeout')
        put_row(id, row)
        if delivery and delivery[Y.edge_instance] == '' then
            -- Its connection is gone: nobody can be told.
            drop_delivery(id, row)
        elseif delivery then
            delivery[Y.status], delivery[Y.owed], delivery[Y.not_before] = 3, 1, 0
            delivery[Y.revision] = row[D.revision]
            put_delivery(id, delivery)
            owe(id, now)
        end
        changed(id)
        found[#found + 1] = cmsgpack.pack(row)
    else
        redis.call('ZREM', EXPIRES, id)
    end
end
return answer(found)
