#!lua flags=allow-oom
-- An operator's decision, which names the state and nonce it saw ('' for no record):
--
--   the record that was seen, or absent as seen  -> the replacement, with a larger token
--   the replacement's nonce                      -> unchanged: it was applied before
--   anything else                                -> unchanged
--
-- KEYS[1]  the record, and the channel that tells of its change
-- ARGV     1 state and nonce seen · 2 the replacement · 3 how long it is kept, ms · 4 PUBLISH or SPUBLISH
-- Answers  { µs, A applied · N absent · S stale, the record that stands, ms of its lease left }

-- common.lua

local now = time()

local function keep(last_token)
  local record = ARGV[2]
  local token = math.min(math.max(last_token + 1, now), MAX_TOKEN)
  local expires = string.sub(record, 2, 2) == 'D' and math.floor(now / 1000) + tonumber(ARGV[3]) or 0
  record = string.sub(record, 1, 18) .. struct.pack('>I8', token)
    .. string.sub(record, 27, 55) .. struct.pack('>I8', expires) .. string.sub(record, 64)
  redis.call('SET', KEYS[1], record, 'PX', ARGV[3])
  -- Last, as in finish.lua.
  redis.pcall(ARGV[4], KEYS[1], '')
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
return { now, 'S', current, lease_left(current) }
