#!lua flags=allow-oom
-- A heartbeat of an owner, who sends its record as running:
--
--   absent                         -> Running, put back
--   Running or Lost, same nonce    -> Running, as young as new, under the policy that is kept
--   anything else                  -> unchanged
--
-- KEYS[1]  the record
-- ARGV     1 the owner's record · 2 HOLD, ms
-- Answers  { µs, P put back · A applied · S stale, the record that stands, ms of its lease left }

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

local function keep(record, answer)
  redis.call('SET', KEYS[1], record, 'PX', ARGV[2])
  return { now, answer, '', 0 }
end

local current = redis.call('GET', KEYS[1])
if not current then return keep(ARGV[1], 'P') end

local state = state_of(current)
if (state == 'R' or state == 'L') and string.sub(current, 3, 18) == string.sub(ARGV[1], 3, 18) then
  -- What is kept, not what is sent: a late heartbeat must not undo what the owner has said of its effects since.
  return keep(string.sub(current, 1, 1) .. 'R' .. string.sub(current, 3), 'A')
end
return { now, 'S', current, lease_left(current, tonumber(ARGV[2])) }
