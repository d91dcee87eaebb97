-- What the scripts share; it stands where they name this file.

-- How long a record that is not done is kept, ms, and the largest token: constants of the format.
local HOLD, MAX_TOKEN = 604800000, 9007199254740991

-- The state's letter where this version wrote the record. Whatever else is there stays as it is.
local function state_of(record)
  if string.byte(record, 1) ~= 1 or #record < 63 then return nil end
  local token, _, flags = struct.unpack('>I8I4B', record, 19)
  local state = string.sub(record, 2, 2)
  if token > MAX_TOKEN or flags >= 12 then return nil end
  if state == 'D' or #record == 63 and flags < 4 and string.find('RFL', state, 1, true) then return state end
end

-- What is left of a running owner's lease, ms.
local function lease_left(record)
  if state_of(record) ~= 'R' then return 0 end
  local left = redis.call('PTTL', KEYS[1])
  local age = left < 0 and 0 or math.max(HOLD - left, 0)
  return math.max(struct.unpack('>I4', record, 27) - age, 0)
end

-- µs since 1970.
local function time()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end
