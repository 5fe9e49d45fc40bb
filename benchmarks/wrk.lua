-- wrk -s wrk.lua URL -- FILE OFFSET POOL: see requests.py; prints one line of JSON at the end.
local requests, turn = {}, 0

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local template = file:read("*a")
  file:close()
  local offset = tonumber(args[2])
  for number = 0, tonumber(args[3]) - 1 do
    requests[number + 1] = template:sub(1, offset) .. (10000000 + number) .. template:sub(offset + 9)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local bad = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "failed": %d, "seconds": %.6f, "p50_ms": %.4f, "p99_ms": %.4f}\n',
    summary.requests, bad.status + bad.connect + bad.read + bad.write + bad.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
