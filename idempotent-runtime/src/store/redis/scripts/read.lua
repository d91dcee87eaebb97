#!lua flags=no-writes
-- The record as it stands, unless it is past its end. Every state stays as it is.
--
-- KEYS[1]  the record
-- Answers  { us, A absent or past its end, R a record; the record; ms of its lease left }

-- common.lua

local now, current = time(), redis.call('GET', KEYS[1])
if not current or has_ended(current, state_of(current), now) then return { now, 'A', '', 0 } end
return { now, 'R', current, lease_left(current) }
