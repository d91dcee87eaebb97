#!lua flags=no-writes
-- The record as it stands. Every state stays as it is.
--
-- KEYS[1]  the record
-- ARGV     1 HOLD, ms
-- Answers  { µs, A absent · R a record, the record, ms of its lease left }

-- The state's letter where this version wrote the record. Whatever else is there stays as it is.
local function state_of(record)
  if string.byte(record, 1) ~= 1 or #record < 63 then return nil end
  local token, _, flags = struct.unpack('>I8I4B', record, 19)
  local state = string.sub(record, 2, 2)
  if token > 9007199254740991 or flags >= 12 then return nil end
  if state == 'D' or #record == 63 and flags < 4 and string.find('RFL', state, 1, true) then return state end
end

local function lease_left(record, hold)
  if state_of(record) ~= 'R' then return 0 end
  local left = redis.call('PTTL', KEYS[1])
  local age = left < 0 and 0 or math.max(hold - left, 0)
  return math.max(struct.unpack('>I4', record, 27) - age, 0)
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local current = redis.call('GET', KEYS[1])
if not current then return { now, 'A', '', 0 } end

return { now, 'R', current, lease_left(current, tonumber(ARGV[1])) }
