-- Judge SUBSCRIBE requests, one after the other: `subscribe_batch_v1` has the rules and the words.
--
-- ARGV  [2] options: how far a CSeq may be behind, seconds that a dialog outlives what is told, how many dialogs a
--       presentity and a watcher may have (0: any); then one for each request: in_dialog, apply, proved, transport,
--       dialogs that the watcher has, and the row that it asks for
-- Found for each request: verdict, granted seconds, the row that was written (or ''), the dialogs that it replaced

local options = cmsgpack.unpack(ARGV[2])
local cseq_offset, expires_offset, max_watchers, max_subscriptions = unpack(options)

-- The dialogs that the watcher of this new one has lost, by id.
local function losing(row)
    local losses = {}
    for _, id in ipairs(redis.call('SMEMBERS', of(row))) do
        local lost = row_of(id)
        if id ~= row[D.dialog_id] and lost and lost[D.ended] == 0 then
            local gone
            if lost[D.callid] == row[D.callid] and lost[D.from_tag] == row[D.from_tag] then
                gone = lost[D.remote_cseq] < row[D.remote_cseq]
            else
                gone = row[D.sip_instance] ~= '' and lost[D.sip_instance] == row[D.sip_instance]
            end
            if gone then
                losses[#losses + 1] = {id, lost}
            end
        end
    end
    return losses
end

-- Whether a new dialog would be one too many; it has the places of those that it replaces.
local function too_many(asks, held, limit)
    return limit > 0 and held >= limit and held - #losing(asks) >= limit
end

local function judge(asks, old, in_dialog, apply, proved, subscriptions)
    if not old then
        if in_dialog then
            return 'unmatched'
        elseif asks[D.status] == 3 then
            return 'blocked'
        elseif asks[D.granted] == 0 then
            return 'fetched'
        elseif too_many(asks, tonumber(redis.call('HGET', COUNTS, place(asks)) or 0), max_watchers) then
            return 'too_many_watchers'
        elseif too_many(asks, subscriptions, max_subscriptions) then
            return 'too_many_subscriptions'
        end
        return 'created'
    elseif old[D.callid] ~= asks[D.callid] or old[D.from_tag] ~= asks[D.from_tag] then
        return 'unmatched'
    elseif proved and (old[D.watcher_username] ~= asks[D.watcher_username]
            or old[D.watcher_domain] ~= asks[D.watcher_domain]) then
        return 'not_yours'
    elseif old[D.last_key] == asks[D.last_key] then
        return 'replayed'
    elseif not in_dialog then
        return 'late'
    elseif old[D.ended] ~= 0 or old[D.expires] <= now then
        return 'unmatched'
    elseif old[D.event] ~= asks[D.event] or old[D.event_id] ~= asks[D.event_id] then
        return 'other_usage'
    elseif asks[D.remote_cseq] <= old[D.remote_cseq] - cseq_offset then
        return 'out_of_order'
    elseif not apply then
        return 'withheld'
    elseif asks[D.granted] == 0 then
        return 'ended'
    end
    return 'refreshed'
end

local function create(id, row, transport, kept, fetched)
    row[D.created], row[D.expires], row[D.revision] = now, now + kept, 1
    row[D.ended] = 0
    if fetched then
        row[D.status], row[D.reason], row[D.ended] = 3, 'timeout', now
    else
        witness(row, 'subscribe')
    end
    put_row(id, row)
    add(id, row)
    local start = tonumber(meta[3] or 0)
    local delivery = {}
    for i, value in ipairs(NEW_DELIVERY) do
        delivery[i] = value
    end
    delivery[Y.status], delivery[Y.edge_instance], delivery[Y.transport] = row[D.status], row[D.edge_instance], transport
    delivery[Y.local_cseq], delivery[Y.kept_cseq] = start, start
    -- What its reader did not see come need not be shown to it as gone.
    local latest = tonumber(redis.call('HGET', BUCKET, 'changes') or 0)
    delivery[Y.shown_version], delivery[Y.acked_version] = latest, latest
    put_delivery(id, delivery)
    redis.call('SADD', at(row), id)
    owe(id, now)
    changed(id)
end

-- End them, without a word.
local function replace(row)
    local replaced = {}
    for _, loss in ipairs(losing(row)) do
        local id, lost = unpack(loss)
        finish(id, lost, 'giveup')
        put_row(id, lost)
        drop_delivery(id, lost)
        changed(id)
        replaced[#replaced + 1] = id
    end
    return replaced
end

local function renew(id, old, asks, transport, kept, ending)
    local moved = old[D.socket_info] ~= asks[D.socket_info] or old[D.edge_instance] ~= asks[D.edge_instance]
    for _, field in ipairs({D.contact, D.local_contact, D.accept, D.user_agent, D.sip_instance, D.edge_instance,
                            D.edge_address, D.socket_info, D.last_key, D.granted}) do
        old[field] = asks[field]
    end
    old[D.remote_cseq] = math.max(old[D.remote_cseq], asks[D.remote_cseq])
    old[D.expires] = now + kept
    if ending then
        finish(id, old, 'timeout')
    else
        old[D.revision] = old[D.revision] + 1
        redis.call('ZADD', EXPIRES, old[D.expires], id)
    end
    put_row(id, old)
    local delivery = delivery_of(id)
    if delivery then
        delivery[Y.status], delivery[Y.revision], delivery[Y.owed] = old[D.status], old[D.revision], 1
        delivery[Y.edge_instance], delivery[Y.transport] = asks[D.edge_instance], transport
        delivery[Y.not_before], delivery[Y.failures] = 0, 0
        if moved then
            -- What was outstanding on another flow is given up: the watcher has moved.
            clear_mark(id, delivery)
        end
        put_delivery(id, delivery)
        owe(id, now)
    end
    changed(id)
end

local found = {}
for i = 3, #ARGV do
    local in_dialog, apply, proved, transport, subscriptions, asks = unpack(cmsgpack.unpack(ARGV[i]))
    local id = asks[D.dialog_id]
    local old = row_of(id)
    local verdict = judge(asks, old, in_dialog, apply, proved, subscriptions)
    local granted = asks[D.granted]
    local kept = granted == 0 and 0 or granted + expires_offset
    local written, replaced = '', {}
    if verdict == 'created' or verdict == 'fetched' then
        create(id, asks, transport, kept, verdict == 'fetched')
        if verdict == 'created' then
            replaced = replace(asks)
        end
        written = redis.call('HGET', ROWS, id)
    elseif verdict == 'refreshed' or verdict == 'ended' then
        renew(id, old, asks, transport, kept, verdict == 'ended')
        written = redis.call('HGET', ROWS, id)
    elseif verdict == 'replayed' then
        granted = old[D.granted]
    elseif verdict == 'late' then
        verdict = 'replayed'
    end
    found[#found + 1] = {verdict, granted, written, replaced}
end
return answer(found)
