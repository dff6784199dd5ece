-- Mark dialogs that owe a NOTIFY: `claim_notifies_v1` has the rules.
--
-- ARGV  [2] who claims; [3] seconds that an outcome is awaited; [4] how many at most; then one for each presentity:
--       event|URI, its version, the ids of dialogs (none: all), the dialogs of senders, who are not told of their own
--       change, each as id, CSeq before it (-1: something was on its way), version before, version after, and since which
--       version those who are pending are to be judged again
-- Found the time; how many were held back until Postgres has a newer CSeq of them; and for each dialog that was
--       marked: which presentity (from 1), id, CSeq, document version, status, revision, the version that it was
--       sent before (0: it is owed whatever the state), the digest that its watcher acknowledged; for watcher
--       information which changes it shows: after, up to, and 1 for all watchers
-- Post  Of what is over the limit, each dialog owes for itself.

local notifier, patience, limit = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
-- Seconds; the flush, which is asked for at once, ends it before.
local HELD_PAUSE = 1
local marked, held = {}, 0
local latest = tonumber(redis.call('HGET', BUCKET, 'changes') or 0)

local function excuse(id, delivery, senders)
    for _, sender in ipairs(senders) do
        local dialog, cseq, before, after = unpack(sender)
        if dialog == id and delivery[Y.status] ~= 3 and delivery[Y.sent_version] < after then
            if delivery[Y.local_cseq] == cseq and delivery[Y.sent_version] == before
                and delivery[Y.outstanding_cseq] == 0 and delivery[Y.owed] == 0 then
                delivery[Y.sent_version] = after
            else
                -- It lags, or an older state was on its way: it is told with what else is new.
                delivery[Y.owed] = 1
            end
            delivery[Y.acked_digest] = ''
        end
    end
end

local function mark(group, id, version, senders, judged)
    local delivery = delivery_of(id)
    if not delivery then
        return
    end
    if #senders > 0 then
        excuse(id, delivery, senders)
    end
    delivery[Y.wanted_version] = math.max(delivery[Y.wanted_version], version)
    redis.call('ZREM', OWED, id)
    local undecided = delivery[Y.status] == 2 and delivery[Y.sent_version] < judged
    if undecided and delivery[Y.outstanding_cseq] ~= 0 then
        delivery[Y.owed] = 1
    end
    if not (owes(delivery) or undecided) or delivery[Y.outstanding_cseq] ~= 0 or delivery[Y.edge_instance] == '' then
        put_delivery(id, delivery)
        return
    elseif version < delivery[Y.wanted_version] or version < delivery[Y.sent_version] then
        -- Whoever claims has read Postgres before others did: an older state must not follow a newer one.
        owe(id, now)
    elseif delivery[Y.not_before] > now then
        owe(id, delivery[Y.not_before])
    elseif delivery[Y.local_cseq] - delivery[Y.kept_cseq] >= MARGIN then
        owe(id, now + HELD_PAUSE)
        changed(id)
        held = held + 1
    else
        local before = delivery[Y.owed] == 1 and 0 or delivery[Y.sent_version]
        local digest = delivery[Y.acked_digest]
        local since, shown = delivery[Y.acked_version], delivery[Y.shown_version]
        local whole = (delivery[Y.owed] == 1 or shown ~= since) and 1 or 0
        delivery[Y.shown_version] = latest
        local cseq = delivery[Y.local_cseq] + 1
        delivery[Y.local_cseq], delivery[Y.version] = cseq, delivery[Y.version] + 1
        delivery[Y.sent_version], delivery[Y.owed], delivery[Y.acked_digest] = version, 0, ''
        delivery[Y.outstanding_cseq], delivery[Y.outstanding_notifier] = cseq, notifier
        delivery[Y.outstanding_until] = now + patience
        redis.call('ZADD', MARKS, now + patience, id)
        changed(id)
        marked[#marked + 1] = {group, id, cseq, delivery[Y.version], delivery[Y.status], delivery[Y.revision],
            before, digest, since, latest, whole}
    end
    put_delivery(id, delivery)
end

for i = 5, #ARGV do
    local name, version, ids, senders, judged = unpack(cmsgpack.unpack(ARGV[i]))
    if #ids == 0 then
        ids = redis.call('SMEMBERS', BUCKET .. ':at:' .. name)
    end
    for _, id in ipairs(ids) do
        -- Who has sent something is looked at while it is known.
        if #marked < limit or #senders > 0 then
            mark(i - 4, id, version, senders, judged)
        else
            local delivery = delivery_of(id)
            if delivery and delivery[Y.wanted_version] < version then
                delivery[Y.wanted_version] = version
                if delivery[Y.status] == 2 and delivery[Y.sent_version] < judged then
                    delivery[Y.owed] = 1
                end
                put_delivery(id, delivery)
            end
            owe(id, now)
        end
    end
end
return answer({string.format('%.6f', now), held, marked})
