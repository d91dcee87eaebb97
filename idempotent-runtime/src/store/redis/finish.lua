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
--          5 the record as its owner was granted it · 6 whether to tell the time, 0 or 1
-- Answers  { µs, P put back · A applied · S stale, the record that stands, ms of its lease left };
--          in the usual case only µs, or 0 where the time was not asked for

local current = redis.call('GET', KEYS[1])

local function keep()
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  -- Last, and not to be missed by the record: a channel this user may not use only costs the waiters time.
  redis.pcall(ARGV[4], KEYS[1], string.sub(ARGV[1], 2, 2))
end

local function time()
  local now = redis.call('TIME')
  return tonumber(now[1]) * 1000000 + tonumber(now[2])
end

-- The usual case: nothing has happened to the record since it was granted. Every first call pays for this, so it comes
-- first, and does nothing that it need not.
if current == ARGV[5] then
  keep()
  return ARGV[6] == '0' and 0 or time()
end

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

local function answer(verdict)
  keep()
  return { time(), verdict, '', 0 }
end

if not current then return answer('P') end

local state = state_of(current)
if state and string.sub(current, 3, 18) == string.sub(ARGV[1], 3, 18) then
  if state == 'R' or state == 'L' then return answer('A') end
  if state == string.sub(ARGV[1], 2, 2) then return { time(), 'A', '', 0 } end
end
return { time(), 'S', current, lease_left(current, tonumber(ARGV[3])) }
