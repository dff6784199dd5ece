-- An edge instance is gone: `rehome_dialogs_v1` has the rules.
--
-- ARGV  [2] the instance that is gone; [3] the instance and [4] the address that take over; [5] 1: it is about to go,
--       and only its UDP dialogs with nothing outstanding are moved
-- Found how many dialogs were changed

local gone, heir, address, gently = ARGV[2], ARGV[3], ARGV[4], ARGV[5] == '1'
local moved = 0
local all = redis.call('HGETALL', DELIVERY)
for i = 1, #all, 2 do
    local id, delivery = all[i], cmsgpack.unpack(all[i + 1])
    local reachable = delivery[Y.transport] == 'udp'
    local stays = gently and (not reachable or delivery[Y.outstanding_cseq] ~= 0)
    local row = delivery[Y.edge_instance] == gone and not stays and row_of(id)
    if row then
        if not reachable and delivery[Y.status] == 3 then
            drop_delivery(id, row)
        else
            delivery[Y.edge_instance] = reachable and heir or ''
            delivery[Y.revision] = delivery[Y.revision] + 1
            if delivery[Y.outstanding_cseq] ~= 0 then
                clear_mark(id, delivery)
                delivery[Y.owed] = 1
            end
            put_delivery(id, delivery)
            row[D.edge_instance], row[D.edge_address] = delivery[Y.edge_instance], address
            row[D.revision] = delivery[Y.revision]
            put_row(id, row)
            owe(id, now)
        end
        changed(id)
        moved = moved + 1
    end
end
return answer(moved)
