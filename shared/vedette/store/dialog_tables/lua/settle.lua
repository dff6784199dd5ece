-- Apply the outcomes of NOTIFYs: `apply_outcomes_v1` has the rules and the words.
--
-- ARGV  [2] after how many NOTIFYs in a row without an answer a dialog ends; then one for each outcome: id, CSeq,
--       verdict, seconds, reason, digest, the final response
-- Found for each outcome that was matched: id, whether another NOTIFY is owed, and for a dialog that ended its watcher

local silences = tonumber(ARGV[2])

local function decide(delivery, verdict, seconds)
    if verdict == 'ended' then
        return 'ended'
    elseif delivery[Y.status] == 3 and delivery[Y.owed] == 0 then
        local tries = seconds < 5 or (seconds <= 60 and delivery[Y.failures] + 1 < silences)
        return (verdict == 'again' or verdict == 'unsent') and tries and 'again' or 'gone'
    elseif (verdict == 'silent' or verdict == 'waits') and delivery[Y.owed] == 1 then
        return 'lags'
    elseif verdict == 'waits' then
        return 'waits'
    elseif verdict == 'silent' and delivery[Y.failures] + 1 >= silences then
        return 'ended'
    elseif verdict == 'again' or verdict == 'silent' or verdict == 'unsent' then
        return 'again'
    elseif owes(delivery) then
        return 'lags'
    end
    return 'clear'
end

local found = {}
for i = 3, #ARGV do
    local id, cseq, verdict, seconds, reason, digest, status = unpack(cmsgpack.unpack(ARGV[i]))
    local delivery, row = delivery_of(id), row_of(id)
    if delivery and row and cseq > 0 and delivery[Y.outstanding_cseq] == cseq then
        local becomes = decide(delivery, verdict, seconds)
        local last = delivery[Y.status] == 3 and delivery[Y.owed] == 0
        local watcher = ''
        if becomes == 'ended' or becomes == 'gone' then
            drop_delivery(id, row)
            if becomes == 'ended' and row[D.status] ~= 3 then
                finish(id, row, reason)
                put_row(id, row)
                watcher = row[D.watcher_username] .. '@' .. row[D.watcher_domain]
            end
        else
            clear_mark(id, delivery)
            if verdict == 'unchanged' then
                delivery[Y.local_cseq] = delivery[Y.local_cseq] - 1
            end
            if verdict == 'unchanged' or verdict == 'unsent' then
                delivery[Y.version] = delivery[Y.version] - 1
            end
            local known = verdict == 'delivered' or verdict == 'unchanged'
            delivery[Y.acked_digest] = known and digest or ''
            if verdict == 'delivered' then
                delivery[Y.acked_version] = delivery[Y.shown_version]
            end
            if verdict ~= 'unchanged' and verdict ~= 'unsent' then
                delivery[Y.last_status], delivery[Y.last_answered] = status, now
            end
            delivery[Y.not_before] = 0
            if becomes == 'again' then
                local pause = verdict == 'silent' and seconds * 2 ^ delivery[Y.failures] or seconds
                delivery[Y.owed], delivery[Y.not_before] = 1, now + pause
                owe(id, now + pause)
            elseif becomes == 'lags' then
                owe(id, now)
            elseif becomes == 'waits' then
                delivery[Y.owed], delivery[Y.edge_instance] = 1, ''
            end
            if verdict == 'silent' or (last and seconds >= 5) then
                delivery[Y.failures] = delivery[Y.failures] + 1
            elseif verdict ~= 'unchanged' and verdict ~= 'unsent' then
                delivery[Y.failures] = 0
            end
            put_delivery(id, delivery)
        end
        changed(id)
        found[#found + 1] = {id, (becomes == 'again' or becomes == 'lags') and 1 or 0, watcher}
    end
end
return answer(found)
