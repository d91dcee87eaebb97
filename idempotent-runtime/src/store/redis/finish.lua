#!lua flags=allow-oom
-- The end of an attempt, whose target record is done, failed or lost:
--
--   absent                           -> the target, put back
--   Running or Lost, same nonce      -> the target
--   the target's nonce and state     -> unchanged: it was applied before
--   anything else                    -> unchanged
--
-- KEYS[1]  the record, and the channel that tells of its change
-- ARGV     1 the target · 2 how long it is kept, ms · 3 HOLD, ms · 4 PUBLISH or SPUBLISH
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
local target = ARGV[1]

local function keep(answer)
  local expires = string.sub(target, 2, 2) == 'D' and math.floor(now / 1000) + tonumber(ARGV[2]) or 0
  target = string.sub(target, 1, 55) .. struct.pack('>I8', expires) .. string.sub(target, 64)
  redis.call('SET', KEYS[1], target, 'PX', ARGV[2])
  -- Last, and not to be missed by the record: a channel this user may not use only costs the waiters time.
  redis.pcall(ARGV[4], KEYS[1], string.sub(target, 2, 2))
  return { now, answer, '', 0 }
end

local current = redis.call('GET', KEYS[1])
if not current then return keep('P') end

local state = state_of(current)
if state and string.sub(current, 3, 18) == string.sub(target, 3, 18) then
  if state == 'R' or state == 'L' then return keep('A') end
  if state == string.sub(target, 2, 2) then return { now, 'A', '', 0 } end
end
return { now, 'S', current, lease_left(current, tonumber(ARGV[3])) }
