-- End the dialogs whose time is over.
--
-- ARGV  [2] how many at most
-- Found for each: its row

local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', EXPIRES, '-inf', now, 'LIMIT', 0, ARGV[2])) do
    local row = row_of(id)
    if row then
        end_dialog(id, row, 'timeout')
        found[#found + 1] = cmsgpack.pack(row)
    else
        redis.call('ZREM', EXPIRES, id)
    end
end
return answer(found)
