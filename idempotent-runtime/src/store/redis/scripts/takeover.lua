#!lua flags=allow-oom
-- Decides a claim that found a record. It names the state and nonce it saw, and applies only to
-- exactly that record:
--
--   Done or Failed, past its end       -> Running, the claim's
--   Failed                             -> Running, the claim's
--   Lost, the claim's own              -> Running again: its owner still claims, so it has not run
--   Running, lease lapsed, on_crash 0  -> Running, the claim's, with a longer lease
--   Running, lease lapsed, on_crash 1  -> Lost, the nonce stays the owner's
--   Done or Failed, the claim's own    -> unchanged: the claim came late
--   anything else                      -> unchanged
--
-- KEYS[1]  the record
-- ARGV     1 state and nonce seen · 2 the claim's own record · 3 longest lease, ms · 4 lease growth
--          5 whether the lease was seen lapsed, 0 or 1. With 0 the claim only looks at a running
--            record: a claim that arrives long after its caller has gone must not overtake a live
--            owner
-- Answers  { time in µs, G granted · H held · C another record is there now · A absent,
--            the record, ms left of the lease }

-- common.lua

local now = time()

local current = redis.call('GET', KEYS[1])
if not current then return { now, 'A', '', 0 } end
local state = state_of(current)
if not state or string.sub(current, 2, 18) ~= ARGV[1] then return { now, 'C', current, 0 } end

local token, lease, flags, attempts = struct.unpack('>I8I4BI4', current, 19)

local function keep(record)
  redis.call('SET', KEYS[1], record, 'PX', HOLD)
  return record
end

local function grant(granted, attempts)
  local mine = ARGV[2]
  local next_token = math.min(math.max(token + 1, now), MAX_TOKEN)
  return keep(string.sub(mine, 1, 18)
    .. struct.pack('>I8I4', next_token, granted) .. string.sub(mine, 31, 31)
    .. struct.pack('>I4', math.min(attempts, 4294967295)) .. string.sub(mine, 36))
end

local asked = struct.unpack('>I4', ARGV[2], 27)
local own = string.sub(current, 3, 18) == string.sub(ARGV[2], 3, 18)
if (state == 'D' or state == 'F') and own then return { now, 'H', current, 0 } end
if state == 'F' or has_ended(current, state, now) then return { now, 'G', grant(asked, attempts + 1), 0 } end
if state == 'L' and own then
  return { now, 'G', keep(string.sub(current, 1, 1) .. 'R' .. string.sub(current, 3)), 0 }
end
if state ~= 'R' then return { now, 'H', current, 0 } end

local left = redis.call('PTTL', KEYS[1])
if left < 0 or left > HOLD then
  -- The key's expiry was taken away, or made later, or the clock went back: the lease counts as just
  -- renewed. Otherwise it would not begin to run out before the key has HOLD left.
  redis.call('PEXPIRE', KEYS[1], HOLD)
  left = HOLD
end
local remaining = lease - math.max(HOLD - left, 0)
if remaining > 0 then return { now, 'H', current, remaining } end
if ARGV[5] == '0' then return { now, 'H', current, 0 } end

if flags % 2 == 1 then
  return { now, 'H', keep(string.sub(current, 1, 1) .. 'L' .. string.sub(current, 3)), 0 }
end
local longest = math.min(asked * tonumber(ARGV[4]), tonumber(ARGV[3]))
return { now, 'G', grant(math.max(math.min(lease * 2, longest), asked), attempts + 1), 0 }
