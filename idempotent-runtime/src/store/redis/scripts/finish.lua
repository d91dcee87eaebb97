#!lua flags=allow-oom
-- Finishes an attempt. The target is a done, failed or lost record:
--
--   absent                           -> the target, put back
--   Running or Lost, same nonce      -> the target
--   the target's nonce and state     -> unchanged: it was applied before
--   anything else                    -> unchanged, also if past its end: nothing late revives it
--
-- KEYS[1]  the record; also the channel on which its change is published
-- ARGV     1 the target · 2 how long its bytes are kept, ms · 3 PUBLISH or SPUBLISH
--          4 the record as it was granted
--          5 only if the target has no end yet: its retention, ms. The end is then set by the
--            server's time, and that time is answered
-- Answers  applied: the time in µs if ARGV[5] is given, else 0
--          else: { that time, P put back · S stale, the current record, ms left of its lease }

local target, now = ARGV[1], 0
if ARGV[5] then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
  if string.sub(target, 2, 2) ~= 'L' then
    local expires = math.floor(now / 1000) + ARGV[5]
    target = string.sub(target, 1, 39) .. struct.pack('>I2I6', expires % 65521, expires) .. string.sub(target, 48)
  end
end

-- Most finishes of first calls find the record as it was granted. For them the script is short:
-- everything else is inside this branch, also the functions, which Lua creates in each run.
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
-- Last, and its failure is ignored: without the right to the channel, waiters only wait longer.
redis.pcall(ARGV[3], KEYS[1], '')
if current then return now end
return { now, 'P', '', 0 }
