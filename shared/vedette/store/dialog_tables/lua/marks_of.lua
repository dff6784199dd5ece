-- Which notifiers have marks.
--
-- Found their names

local seen, found = {}, {}
for _, id in ipairs(redis.call('ZRANGE', MARKS, 0, -1)) do
    local delivery = delivery_of(id)
    local notifier = delivery and delivery[Y.outstanding_notifier]
    if notifier and not seen[notifier] then
        seen[notifier] = true
        found[#found + 1] = notifier
    end
end
return answer(found)
