-- The watchers that documents of watcher information show: `read_watchers_v1` has the rules.
--
-- ARGV  one for each document: event|URI that is watched, and the changes that it shows: after, up to, whole
-- Found for each: 1 where it is full, and of each watcher: id, user, domain, From, status, what brought it there, when
--       it came, when it ends

local found = {}
for i = 2, #ARGV do
    local name, since, upto, whole = unpack(cmsgpack.unpack(ARGV[i]))
    local rows, full = {}, whole
    for _, id in ipairs(redis.call('SMEMBERS', BUCKET .. ':known:' .. name)) do
        local row = row_of(id)
        if row then
            local lost = row[D.status] == 3 and row[D.changed] > since and row[D.changed] <= upto
            full = full or lost
            if lost or row[D.status] ~= 3 then
                rows[#rows + 1] = row
            end
        end
    end
    local shown = {}
    for _, row in ipairs(rows) do
        if full or row[D.changed] > since then
            shown[#shown + 1] = {row[D.dialog_id], row[D.watcher_username], row[D.watcher_domain], row[D.from_uri],
                row[D.status], row[D.status_event], string.format('%.6f', row[D.created]),
                string.format('%.6f', row[D.expires])}
        end
    end
    found[#found + 1] = {full and 1 or 0, shown}
end
return answer(found)
