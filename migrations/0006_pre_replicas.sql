-- Who is there. Written by cores and notifiers for themselves, and by cores for the edges that called them.
--
-- In    arrays, one element for each process seen since the last call
-- Locks replica, in instance order
CREATE FUNCTION record_replicas_v1(
    p_instance text[], p_service text[], p_address text[], p_version text[], p_pid int4[], p_host text[],
    p_uptime float8[], p_ready bool[]
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO replica (instance, service, address, version, pid, host, started, seen, ready)
    SELECT r.instance, r.service, r.address, r.version, r.pid, r.host,
        clock_timestamp() - make_interval(secs => r.uptime), clock_timestamp(), r.ready
    FROM unnest(p_instance, p_service, p_address, p_version, p_pid, p_host, p_uptime, p_ready)
        AS r (instance, service, address, version, pid, host, uptime, ready)
    ORDER BY r.instance
    ON CONFLICT (instance) DO UPDATE SET seen = excluded.seen, ready = excluded.ready, address = excluded.address;
$$;
