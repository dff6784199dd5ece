-- Have dialogs of a presentity get a NOTIFY, whatever they have: `notify_again_v1` has the words.
--
-- ARGV  [2] event|URI; [3] the id of one dialog, empty: all of them
-- Found for each dialog: what becomes of it

local ids = ARGV[3] ~= '' and {ARGV[3]} or redis.call('SMEMBERS', BUCKET .. ':at:' .. ARGV[2])
local found = {}
for _, id in ipairs(ids) do
    local delivery, row = delivery_of(id), row_of(id)
    if delivery and row and place(row) == ARGV[2] then
        delivery[Y.owed], delivery[Y.not_before], delivery[Y.acked_digest] = 1, 0, ''
        put_delivery(id, delivery)
        changed(id)
        if delivery[Y.edge_instance] == '' then
            found[#found + 1] = 'unreachable'
        elseif delivery[Y.outstanding_cseq] ~= 0 then
            found[#found + 1] = 'outstanding'
        else
            owe(id, now)
            found[#found + 1] = 'owed'
        end
    end
end
return answer(found)
