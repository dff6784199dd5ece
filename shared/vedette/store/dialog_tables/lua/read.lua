-- Rows of dialogs.
--
-- ARGV  ids
-- Found for each its row, '' where it is not there

local found = {}
for i = 2, #ARGV do
    found[i - 1] = redis.call('HGET', ROWS, ARGV[i]) or ''
end
return answer(found)
