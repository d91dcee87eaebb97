#!lua flags=allow-oom
-- Renews the lease of an owner, who sends its running record:
--
--   absent                         -> Running, put back
--   Running or Lost, same nonce    -> the stored record, Running, with its whole lease again
--   anything else                  -> unchanged
--
-- KEYS[1]  the record
-- ARGV     1 the owner's record
-- Answers  { time in µs, P put back · A applied · S stale, the current record,
--            ms left of its lease }

-- common.lua

local function keep(record, answer)
  redis.call('SET', KEYS[1], record, 'PX', HOLD)
  return { time(), answer, '', 0 }
end

local current = redis.call('GET', KEYS[1])
if not current then return keep(ARGV[1], 'P') end

local state = state_of(current)
if (state == 'R' or state == 'L') and string.sub(current, 3, 18) == string.sub(ARGV[1], 3, 18) then
  -- The stored record, not the one sent: a late heartbeat must not undo what the owner has
  -- reported since about its effects.
  return keep(string.sub(current, 1, 1) .. 'R' .. string.sub(current, 3), 'A')
end
return { time(), 'S', current, lease_left(current) }
