-- The dialogs of senders, just before their changes.
--
-- ARGV  two for each: event|URI, Contact
-- Found for each: `id:CSeq` of every dialog with that Contact, separated by blanks; -1 for one that lags or has a NOTIFY
--       on its way

local found = {}
for i = 2, #ARGV, 2 do
    local dialogs = {}
    for _, id in ipairs(redis.call('SMEMBERS', BUCKET .. ':at:' .. ARGV[i])) do
        local row, delivery = row_of(id), delivery_of(id)
        if row and delivery and delivery[Y.status] ~= 3
            and string.match(row[D.contact], '^[^;]*') == ARGV[i + 1] then
            local quiet = delivery[Y.outstanding_cseq] == 0 and delivery[Y.owed] == 0
            dialogs[#dialogs + 1] = id .. ':' .. (quiet and delivery[Y.local_cseq] or -1)
        end
    end
    found[#found + 1] = table.concat(dialogs, ' ')
end
return answer(found)
