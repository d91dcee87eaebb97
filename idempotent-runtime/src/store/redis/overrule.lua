#!lua flags=allow-oom
-- An operator's decision, which names the state and nonce it saw ('' for no record):
--
--   the record that was seen, or absent as seen  -> the replacement, with a larger token
--   the replacement's nonce                      -> unchanged: it was applied before
--   anything else                                -> unchanged
--
-- KEYS[1]  the record, and the channel that tells of its change
-- ARGV     1 state and nonce seen · 2 the replacement · 3 how long it is kept, ms · 4 HOLD, ms · 5 PUBLISH or SPUBLISH
-- Answers  { µs, A applied · N absent · S stale, the record that stands, ms of its lease left }

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

local function keep(last_token)
  local record = ARGV[2]
  local token = math.min(math.max(last_token + 1, now), 9007199254740991)
  local expires = string.sub(record, 2, 2) == 'D' and math.floor(now / 1000) + tonumber(ARGV[3]) or 0
  record = string.sub(record, 1, 18) .. struct.pack('>I8', token)
    .. string.sub(record, 27, 55) .. struct.pack('>I8', expires) .. string.sub(record, 64)
  redis.call('SET', KEYS[1], record, 'PX', ARGV[3])
  redis.pcall(ARGV[5], KEYS[1], string.sub(record, 2, 2))
  return { now, 'A', '', 0 }
end

local current = redis.call('GET', KEYS[1])
if not current then
  if ARGV[1] == '' then return keep(0) end
  return { now, 'N', '', 0 }
end

if state_of(current) then
  if string.sub(current, 3, 18) == string.sub(ARGV[2], 3, 18) then return { now, 'A', '', 0 } end
  -- In parentheses: unpack also answers where it stopped.
  if string.sub(current, 2, 18) == ARGV[1] then return keep((struct.unpack('>I8', current, 19))) end
end
return { now, 'S', current, lease_left(current, tonumber(ARGV[4])) }
