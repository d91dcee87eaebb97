#!lua flags=allow-oom
-- A claim that met a record, and names the state and nonce it saw. It applies to that very record only:
--
--   Failed                             -> Running, the claim's
--   Lost, the claim's own              -> Running, as it was: the owner still asks, so it has not run
--   Running, lease lapsed, on_crash 0  -> Running, the claim's, with a longer lease
--   Running, lease lapsed, on_crash 1  -> Lost, the nonce stays the owner's
--   anything else                      -> unchanged
--
-- KEYS[1]  the record
-- ARGV     1 state and nonce seen · 2 the claim's own record · 3 HOLD, ms · 4 longest lease, ms · 5 lease growth
--          6 whether the lease was seen lapsed, 0 or 1: a claim that has only looked takes no running record, so that
--            one which arrives long after its caller has gone leaves a live owner alone
-- Answers  { µs, G granted · H held · C another record stands now · A absent, the record, ms of the lease left }
-- The state's letter where this version wrote the record. Whatever else is there stays as it is.
local function state_of(record)
  if string.byte(record, 1) ~= 1 or #record < 63 then return nil end
  local token, _, flags = struct.unpack('>I8I4B', record, 19)
  local state = string.sub(record, 2, 2)
  if token > 9007199254740991 or flags >= 12 then return nil end
  if state == 'D' or #record == 63 and flags < 4 and string.find('RFL', state, 1, true) then return state end
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local hold = tonumber(ARGV[3])

local current = redis.call('GET', KEYS[1])
if not current then return { now, 'A', '', 0 } end
local state = state_of(current)
if not state or string.sub(current, 2, 18) ~= ARGV[1] then return { now, 'C', current, 0 } end

local token, lease, flags, attempts = struct.unpack('>I8I4BI4', current, 19)

local function keep(record)
  redis.call('SET', KEYS[1], record, 'PX', ARGV[3])
  return record
end

local function grant(granted)
  local mine = ARGV[2]
  local next_token = math.min(math.max(token + 1, now), 9007199254740991)
  return keep(string.sub(mine, 1, 18)
    .. struct.pack('>I8I4', next_token, granted) .. string.sub(mine, 31, 31)
    .. struct.pack('>I4', math.min(attempts + 1, 4294967295)) .. string.sub(mine, 36))
end

local asked = struct.unpack('>I4', ARGV[2], 27)
if state == 'F' then return { now, 'G', grant(asked), 0 } end
if state == 'L' and string.sub(current, 3, 18) == string.sub(ARGV[2], 3, 18) then
  return { now, 'G', keep(string.sub(current, 1, 1) .. 'R' .. string.sub(current, 3)), 0 }
end
if state ~= 'R' then return { now, 'H', current, 0 } end

local left = redis.call('PTTL', KEYS[1])
if left < 0 then
  -- Somebody took its expiry away: it counts as just renewed.
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  left = hold
end
local lease_left = lease - math.max(hold - left, 0)
if lease_left > 0 then return { now, 'H', current, lease_left } end
if ARGV[6] == '0' then return { now, 'H', current, 0 } end

if flags % 2 == 1 then
  return { now, 'H', keep(string.sub(current, 1, 1) .. 'L' .. string.sub(current, 3)), 0 }
end
local longest = math.min(asked * tonumber(ARGV[5]), tonumber(ARGV[4]))
return { now, 'G', grant(math.max(math.min(lease * 2, longest), asked)), 0 }
