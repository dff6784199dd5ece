-- One bucket of the dialog tables. All its keys begin with KEYS[1], whose hash tag keeps them in one slot.
--
--   KEYS[1]           hash: epoch (absent: the bucket was not loaded), run, start, changes
--   ...:rows          hash: id -> row (D has the positions)
--   ...:delivery      hash: id -> delivery (Y)
--   ...:expires       zset: dialogs that live, by their end
--   ...:ended         zset: tombstones, by when they ended
--   ...:marks         zset: dialogs with a NOTIFY outstanding, by until when its outcome is awaited
--   ...:owed          zset: dialogs that owe a NOTIFY, by from when
--   ...:dirty         zset: dialogs that Postgres does not have as they are, by the number of their last change
--   ...:counts        hash: event|presentity -> dialogs that live
--   ...:at:...        set: the dialogs of a presentity that have a delivery
--   ...:known:...     set: the dialogs of a presentity, tombstones included
--   ...:of:...        set: the dialogs of a watcher there that live
--
-- ARGV[1] is the epoch that the caller knows. Answer: state, when the next NOTIFY is owed, when the next dialog ends,
-- and what the script has found.

local BUCKET = KEYS[1]
local ROWS, DELIVERY = BUCKET .. ':rows', BUCKET .. ':delivery'
local EXPIRES, ENDED, MARKS = BUCKET .. ':expires', BUCKET .. ':ended', BUCKET .. ':marks'
local OWED, DIRTY, COUNTS = BUCKET .. ':owed', BUCKET .. ':dirty', BUCKET .. ':counts'

local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local meta = redis.call('HMGET', BUCKET, 'epoch', 'run', 'start')
local asked, epoch = tonumber(ARGV[1]), tonumber(meta[1] or 0)

local function row_of(id)
    local packed = redis.call('HGET', ROWS, id)
    return packed and cmsgpack.unpack(packed)
end

local function put_row(id, row)
    redis.call('HSET', ROWS, id, cmsgpack.pack(row))
end

local function delivery_of(id)
    local packed = redis.call('HGET', DELIVERY, id)
    return packed and cmsgpack.unpack(packed)
end

local function put_delivery(id, delivery)
    redis.call('HSET', DELIVERY, id, cmsgpack.pack(delivery))
end

local function place(row)
    return row[D.event] .. '|' .. row[D.presentity_uri]
end

local function at(row)
    return BUCKET .. ':at:' .. place(row)
end

local function known(row)
    return BUCKET .. ':known:' .. place(row)
end

local function of(row)
    return BUCKET .. ':of:' .. row[D.event] .. '|' .. row[D.event_id] .. '|' .. row[D.presentity_uri] .. '|'
        .. row[D.watcher_username] .. '@' .. row[D.watcher_domain]
end

local function count(row, difference)
    if redis.call('HINCRBY', COUNTS, place(row), difference) <= 0 then
        redis.call('HDEL', COUNTS, place(row))
    end
end

local function next_change()
    return redis.call('HINCRBY', BUCKET, 'changes', 1)
end

-- Postgres has to be told of it.
local function changed(id)
    redis.call('ZADD', DIRTY, next_change(), id)
end

local function owes(delivery)
    if delivery[Y.status] == 2 then
        -- Pending: whoever decides on it owes it a NOTIFY (RFC 3857 section 4.7.1).
        return delivery[Y.owed] == 1
    end
    return delivery[Y.owed] == 1 or delivery[Y.sent_version] < delivery[Y.wanted_version]
        or delivery[Y.witnessed] > delivery[Y.shown_version]
end

local function owe(id, due)
    redis.call('ZADD', OWED, due, id)
end

-- A watcher has come or gone: it is shown to those who watch the watchers. The caller puts the row.
local function witness(row, event)
    row[D.status_event], row[D.changed] = event, next_change()
    for _, id in ipairs(redis.call('SMEMBERS', BUCKET .. ':at:' .. row[D.event] .. '.winfo|' .. row[D.presentity_uri])) do
        local delivery = delivery_of(id)
        if delivery and delivery[Y.status] ~= 3 then
            delivery[Y.witnessed] = row[D.changed]
            put_delivery(id, delivery)
            owe(id, now)
        end
    end
end

local function clear_mark(id, delivery)
    delivery[Y.outstanding_cseq], delivery[Y.outstanding_notifier], delivery[Y.outstanding_until] = 0, '', 0
    redis.call('ZREM', MARKS, id)
end

-- Nothing more is to be sent in the dialog.
local function drop_delivery(id, row)
    redis.call('HDEL', DELIVERY, id)
    redis.call('ZREM', OWED, id)
    redis.call('ZREM', MARKS, id)
    redis.call('SREM', at(row), id)
end

local function add(id, row)
    redis.call('SADD', known(row), id)
    if row[D.ended] == 0 then
        redis.call('ZADD', EXPIRES, row[D.expires], id)
        redis.call('SADD', of(row), id)
        count(row, 1)
    else
        redis.call('ZADD', ENDED, row[D.ended], id)
    end
end

-- It becomes a tombstone, which gives copies of its last request their answer. The caller puts the row.
local function finish(id, row, reason)
    row[D.status], row[D.reason], row[D.ended], row[D.revision] = 3, reason, now, row[D.revision] + 1
    redis.call('ZREM', EXPIRES, id)
    redis.call('SREM', of(row), id)
    redis.call('ZADD', ENDED, now, id)
    count(row, -1)
    witness(row, reason)
end

-- End a dialog for a reason of ours; whether its watcher is going to be told.
local function end_dialog(id, row, reason)
    local delivery, told = delivery_of(id), false
    finish(id, row, reason)
    put_row(id, row)
    if delivery and delivery[Y.edge_instance] == '' then
        -- Its connection is gone: nobody can be told.
        drop_delivery(id, row)
    elseif delivery then
        delivery[Y.status], delivery[Y.owed], delivery[Y.not_before] = 3, 1, 0
        delivery[Y.revision] = row[D.revision]
        put_delivery(id, delivery)
        owe(id, now)
        told = true
    end
    changed(id)
    return told
end

local function first_score(key)
    return redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or ''
end

local function answer(found)
    return {'done', first_score(OWED), first_score(EXPIRES), found}
end

-- Redis has started since, from what it had saved: what it knows may be a little old. CSeqs jump over those that may
-- have been used, and every dialog is looked at again.
local function resume()
    local all = redis.call('HGETALL', DELIVERY)
    for i = 1, #all, 2 do
        local id, delivery = all[i], cmsgpack.unpack(all[i + 1])
        delivery[Y.local_cseq] = delivery[Y.local_cseq] + MARGIN
        delivery[Y.version] = delivery[Y.version] + MARGIN
        if delivery[Y.outstanding_cseq] ~= 0 then
            clear_mark(id, delivery)
            delivery[Y.owed] = 1
        end
        local row = row_of(id)
        if row and string.sub(row[D.event], -6) == '.winfo' then
            -- Its reader may have seen watchers that are not known any more, and gets all that are.
            delivery[Y.owed] = 1
        end
        delivery[Y.acked_digest] = ''
        put_delivery(id, delivery)
        owe(id, now)
        changed(id)
    end
    redis.call('HSET', BUCKET, 'run', run)
end
