-- How many UDP dialogs an edge has.
--
-- ARGV  [2] its instance
-- Found how many

local found = 0
for _, packed in ipairs(redis.call('HVALS', DELIVERY)) do
    local delivery = cmsgpack.unpack(packed)
    if delivery[Y.edge_instance] == ARGV[2] and delivery[Y.transport] == 'udp' then
        found = found + 1
    end
end
return answer(found)
