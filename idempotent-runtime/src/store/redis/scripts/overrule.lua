#!lua flags=allow-oom
-- Carries out an operator's decision about the state and nonce that were seen ('' for no record).
-- A record past its end counts as none, except for its token:
--
--   the record that was seen, or absent as seen  -> the replacement, with a larger token
--   the replacement's nonce                      -> unchanged: it was applied before
--   anything else                                -> unchanged
--
-- KEYS[1]  the record; also the channel on which its change is published
-- ARGV     1 state and nonce seen · 2 the replacement, with a token of 0 and a check that fits it
--          3 how long its bytes are kept, ms · 4 PUBLISH or SPUBLISH · 5 its retention, ms
-- Answers  { time in µs, A applied · N absent · S stale, the current record, ms left of its lease }

-- common.lua

local now = time()

-- The check of a done record with this token, which is mixed in by xor.
local function sealed(check, token)
  local high, low = struct.unpack('>I4I4', check)
  high = bit.bxor(high, math.floor(token / 4294967296)) % 4294967296
  low = bit.bxor(low, token % 4294967296) % 4294967296
  return struct.pack('>I4I4', high, low)
end

local function keep(last_token)
  local record = ARGV[2]
  local token = math.min(math.max(last_token + 1, now), MAX_TOKEN)
  local state, check = string.sub(record, 2, 2), string.sub(record, 56, 63)
  if state == 'D' then check = sealed(check, token) end
  record = string.sub(record, 1, 18) .. struct.pack('>I8', token) .. string.sub(record, 27, 55) .. check
    .. string.sub(record, 64)
  if state ~= 'L' then record = with_end(record, math.floor(now / 1000) + tonumber(ARGV[5])) end
  redis.call('SET', KEYS[1], record, 'PX', ARGV[3])
  -- Last, as in finish.lua.
  redis.pcall(ARGV[4], KEYS[1], '')
  return { now, 'A', '', 0 }
end

local current = redis.call('GET', KEYS[1])
local state, token = current and state_of(current), 0
if state then
  if string.sub(current, 3, 18) == string.sub(ARGV[2], 3, 18) then return { now, 'A', '', 0 } end
  token = struct.unpack('>I8', current, 19)
end
if not current or has_ended(current, state, now) then
  if ARGV[1] == '' then return keep(token) end
  return { now, 'N', '', 0 }
end
if state and string.sub(current, 2, 18) == ARGV[1] then return keep(token) end
return { now, 'S', current, lease_left(current) }
