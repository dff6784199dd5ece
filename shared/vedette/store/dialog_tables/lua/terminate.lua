-- End a dialog for a reason of ours: `terminate_dialog_v1` has the words.
--
-- ARGV  [2] its id; [3] the reason
-- Found what became of it, empty where it does not live; its watcher

local id = ARGV[2]
local row = row_of(id)
if not row or row[D.ended] ~= 0 or row[D.expires] <= now then
    return answer({'', ''})
end
local becomes = end_dialog(id, row, ARGV[3]) and 'told' or 'untold'
return answer({becomes, row[D.watcher_username] .. '@' .. row[D.watcher_domain]})
