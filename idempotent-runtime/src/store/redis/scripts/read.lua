#!lua flags=no-writes
-- Reads the record, unless it is past its end. It changes nothing.
--
-- KEYS[1]  the record
-- Answers  { time in µs, A absent or past its end · R a record, the record, ms left of its lease }

-- common.lua

local now, current = time(), redis.call('GET', KEYS[1])
if not current or has_ended(current, state_of(current), now) then return { now, 'A', '', 0 } end
return { now, 'R', current, lease_left(current) }
