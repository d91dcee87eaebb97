#!lua flags=no-writes
-- The record as it stands. Every state stays as it is.
--
-- KEYS[1]  the record
-- Answers  { µs, A absent · R a record, the record, ms of its lease left }

-- common.lua

local current = redis.call('GET', KEYS[1])
if not current then return { time(), 'A', '', 0 } end
return { time(), 'R', current, lease_left(current) }
