-- Carry out what was decided, as a NOTIFY was to be composed, about watchers: `decide_watchers_v1` has the rules.
--
-- ARGV  [2...] one for each dialog: id, CSeq that its NOTIFY was claimed with, whether the rules are still those that
--       were judged by, status and reason
-- Found for each dialog that owes a NOTIFY now: id, and for one that ended its watcher

local found = {}
for i = 2, #ARGV do
    local id, cseq, holds, status, reason = unpack(cmsgpack.unpack(ARGV[i]))
    local delivery, row = delivery_of(id), row_of(id)
    if delivery and row and cseq > 0 and delivery[Y.outstanding_cseq] == cseq then
        local watcher = ''
        clear_mark(id, delivery)
        delivery[Y.local_cseq], delivery[Y.version] = delivery[Y.local_cseq] - 1, delivery[Y.version] - 1
        delivery[Y.owed], delivery[Y.acked_digest] = 1, ''
        local becomes = row[D.status] ~= status
        if holds and delivery[Y.status] ~= 3 and row[D.ended] == 0 and (becomes or row[D.reason] ~= reason) then
            if status == 3 then
                finish(id, row, 'rejected')
                watcher = row[D.watcher_username] .. '@' .. row[D.watcher_domain]
            else
                row[D.status], row[D.reason], row[D.revision] = status, reason, row[D.revision] + 1
                if becomes then
                    witness(row, status == 1 and 'approved' or 'subscribe')
                end
            end
            put_row(id, row)
            delivery[Y.status], delivery[Y.revision] = row[D.status], row[D.revision]
        end
        put_delivery(id, delivery)
        owe(id, now)
        changed(id)
        found[#found + 1] = {id, watcher}
    end
end
return answer(found)
