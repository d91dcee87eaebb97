#!lua flags=allow-oom
-- A heartbeat of an owner, who sends its record as running:
--
--   absent                         -> Running, put back
--   Running or Lost, same nonce    -> Running, as young as new, under the policy that is kept
--   anything else                  -> unchanged
--
-- KEYS[1]  the record
-- ARGV     1 the owner's record
-- Answers  { µs, P put back · A applied · S stale, the record that stands, ms of its lease left }

-- common.lua

local function keep(record, answer)
  redis.call('SET', KEYS[1], record, 'PX', HOLD)
  return { time(), answer, '', 0 }
end

local current = redis.call('GET', KEYS[1])
if not current then return keep(ARGV[1], 'P') end

local state = state_of(current)
if (state == 'R' or state == 'L') and string.sub(current, 3, 18) == string.sub(ARGV[1], 3, 18) then
  -- What is kept, not what is sent: a late heartbeat must not undo what the owner has said of its effects since.
  return keep(string.sub(current, 1, 1) .. 'R' .. string.sub(current, 3), 'A')
end
return { time(), 'S', current, lease_left(current) }
