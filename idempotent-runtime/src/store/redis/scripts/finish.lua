#!lua flags=allow-oom
-- The end of an attempt, whose target record is done, failed or lost:
--
--   absent                           -> the target, put back
--   Running or Lost, same nonce      -> the target
--   the target's nonce and state     -> unchanged: it was applied before
--   anything else                    -> unchanged, also past its end: a late message brings nothing back
--
-- KEYS[1]  the record, and the channel that tells of its change
-- ARGV     1 the target · 2 how long its bytes are kept, ms · 3 PUBLISH or SPUBLISH · 4 the record as it was granted
--          5 given where the target's end is not in it: its retention, ms, by the server's time, which is told
-- Answers  applied: µs, or 0 where nobody asked for the time
--          else: { µs or 0, P put back · S stale, the record that stands, ms of its lease left }

local target, now = ARGV[1], 0
if ARGV[5] then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
  if string.sub(target, 2, 2) ~= 'L' then
    local expires = math.floor(now / 1000) + ARGV[5]
    target = string.sub(target, 1, 39) .. struct.pack('>I2I6', expires % 65521, expires) .. string.sub(target, 48)
  end
end

-- A first call's costs are those of this script, so it is short where the record stands as it was granted: everything
-- else is in here, functions included, which Lua makes anew in each run.
local current = redis.call('GET', KEYS[1])
if current and current ~= ARGV[4] then
  -- common.lua
  local state = state_of(current)
  local own = state and string.sub(current, 3, 18) == string.sub(target, 3, 18)
  if not own or state ~= 'R' and state ~= 'L' then
    if own and state == string.sub(target, 2, 2) then return now end
    return { now, 'S', current, lease_left(current) }
  end
end

redis.call('SET', KEYS[1], target, 'PX', ARGV[2])
-- Last, and not to be missed by the record: a channel this user may not use only costs the waiters time.
redis.pcall(ARGV[3], KEYS[1], '')
if current then return now end
return { now, 'P', '', 0 }
