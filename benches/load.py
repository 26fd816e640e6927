"""Puts a service under load, kills it and its clients, and checks every result.

    cargo build --release -p fhec-cli
    python3 benches/load.py [--fhec target/release/fhec] [--requests 200] [--evaluators 2] [--keep DIR] [--json]

Three tenants with keys of their own send 200 requests, each of one digit, to `fhec serve` with `models/mnist_mlp.onnx`; memory has
room for the evaluators of two, and the queue for fewer requests than there are clients. Some clients send and read slowly. Meanwhile
one client is killed in the middle of its request and one while it waits, several hostile uploads are sent, and the service is killed
(SIGKILL) once a part of the results is there, and started again. In the end

- every request has one result, which its own tenant's key decrypts, which answers this very request, and which is what the plan
  gives in the clear, to within 0.01;
- every job that was acknowledged is there, and no tenant sees one of another;
- the memory of both processes has stayed within the bound (VmHWM of Linux).

The standard library of Python alone.
"""

import argparse
import array
import http.client
import json
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TENANTS = ["alice", "bob", "carol"]
MIB = 1 << 20


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fhec", type=pathlib.Path, default=ROOT / "target/release/fhec", help="the program")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--evaluators", type=int, default=2, help="evaluators that memory has room for, of three tenants")
    parser.add_argument("--keep", type=pathlib.Path, help="an empty folder for the files, which then stay")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args()


def read_npy(path):
    """The shape and the numbers of a file of float32."""
    data = pathlib.Path(path).read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00", path
    end = 10 + int.from_bytes(data[8:10], "little")
    header = data[10:end].decode()
    assert "'<f4'" in header and "'fortran_order': False" in header, header
    shape = [int(n) for n in header.split("(")[1].split(")")[0].split(",") if n.strip()]
    numbers = array.array("f")
    numbers.frombytes(data[end:])
    return shape, numbers


def write_npy(path, shape, numbers):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({', '.join(map(str, shape))}), }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    pathlib.Path(path).write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + numbers.tobytes())


class Tool:
    def __init__(self, program, folder):
        self.program, self.folder = str(program.resolve()), folder

    def run(self, *args):
        done = subprocess.run([self.program, *map(str, args)], cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"fhec {' '.join(map(str, args))}: {done.stderr}")
        return done.stdout

    def json(self, *args):
        return json.loads(self.run(*args, "--json"))


class Service:
    """`fhec serve`, which may be killed and started again."""

    def __init__(self, tool, memory):
        self.tool, self.memory, self.port, self.peaks = tool, memory, 0, []
        self.log = open(tool.folder / "serve.log", "w")
        self.start()

    def start(self):
        command = [
            self.tool.program, "serve", "--plan", "plan.fhe", "--keys-dir", "state", "--tokens", "tokens",
            "--listen", f"127.0.0.1:{self.port}", "--mem", str(self.memory), "--max-runs", "8",
            # Fewer places than there are clients, who are refused and come again.
            "--queue", "5", "--queue-per-tenant", "2", "--log", "json",
        ]
        self.process = subprocess.Popen(command, cwd=self.tool.folder, stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("listening on http://"), line
        self.port = int(line.rsplit(":", 1)[1])

    def note_peak(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        self.peaks.append(int(line.split()[1]) * 1024)

    def stop(self, how):
        self.note_peak()
        self.process.send_signal(how)
        return self.process.wait()


class Client:
    """One tenant's requests; every one is sent until it is answered."""

    def __init__(self, service, token):
        self.service, self.token = service, token
        self.refusals = {}
        self.broken = 0

    def once(self, method, path, body=None, headers=None, slow=0.0):
        """One request over a connection of its own; `slow` seconds are spent on sending and on reading."""
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=60)
        try:
            headers = {"authorization": f"Bearer {self.token}", **(headers or {})}
            if body is not None:
                headers["content-length"] = str(len(body))
            connection.putrequest(method, path)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            parts = 10 if slow else 1
            for i in range(parts if body else 0):
                connection.send(body[len(body) * i // parts : len(body) * (i + 1) // parts])
                time.sleep(slow / parts)
            answer = connection.getresponse()
            data = b""
            while slow and (part := answer.read(64 << 10)):
                data += part
                time.sleep(slow / parts)
            return answer.status, answer.headers, data if slow else answer.read()
        finally:
            connection.close()

    def ask(self, method, path, body=None, headers=None, slow=0.0):
        """The answer, however often it takes."""
        while True:
            try:
                status, found, data = self.once(method, path, body, headers, slow)
            except (OSError, http.client.HTTPException):
                self.broken += 1
                time.sleep(0.2)
                continue
            if status not in (429, 503):
                return status, data
            self.refusals[status] = self.refusals.get(status, 0) + 1
            assert int(found["retry-after"]) > 0
            time.sleep(0.5 + random.random())

    def wait(self, job):
        """Follows a job's events until it is final."""
        while True:
            status, data = self.ask("GET", f"/v1/jobs/{job}/events")
            assert status == 200, data
            events = [json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith("data: ")]
            if events and events[-1]["state"] not in ("queued", "running"):
                return events[-1]


def prepare(tool, requests):
    """Plan, keys, tokens and encrypted requests: for each its tenant, its file and what it must give."""
    models = ROOT / "models"
    tool.run(models / "mnist_mlp.onnx", "-o", "plan.fhe", "--client", "client.fhe", "--calibration", models / "calibration.npz")
    tool.run("simulate", "plan.fhe", "--input", models / "digits.npy", "-o", "exact.npy", "--exact")
    (count, *shape), pixels = read_npy(models / "digits.npy")
    (_, classes), exact = read_npy(tool.folder / "exact.npy")
    size = len(pixels) // count
    for tenant in TENANTS:
        tool.run("keygen", "client.fhe", "--secret", f"{tenant}.key", "--evaluation", f"{tenant}.server.key")
        (tool.folder / f"{tenant}.token").write_text(tool.run("token", tenant, "--tokens", "tokens"))
    work = []
    for i in range(requests):
        tenant, image = TENANTS[i % len(TENANTS)], random.randrange(count)
        write_npy(tool.folder / "x.npy", [1, *shape], pixels[image * size : (image + 1) * size])
        tool.run("encrypt", "client.fhe", "--secret", f"{tenant}.key", "--input", "x.npy", "-o", f"{i}.ct")
        work.append((i, tenant, exact[image * classes : (image + 1) * classes]))
    return work


def upload(tool, service, tenant):
    """Has `fhec remote` bring the tenant's keys, with a request of its own; their name."""
    address = f"http://127.0.0.1:{service.port}"
    report = tool.json(*remote(tenant, address, "one.npy"), "-o", f"{tenant}.first.npy")
    return report["key"]


def remote(tenant, address, images):
    return [
        "remote", address, "--plan", "client.fhe", "--secret", f"{tenant}.key", "--evaluation", f"{tenant}.server.key",
        "--token-file", f"{tenant}.token", "--input", images,
    ]


def killed_while_waiting(tool, service, client):
    """A client that is killed when its job is there, the only one of two images."""
    command = [tool.program, *map(str, remote("alice", f"http://127.0.0.1:{service.port}", "two.npy")), "-o", "killed.npy"]
    process = subprocess.Popen(command, cwd=tool.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if any(job["images"] == 2 for job in json.loads(client.ask("GET", "/v1/jobs")[1])):
            break
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it was killed before it had its result"


def killed_while_sending(service, client, key, body):
    """A client that is gone in the middle of its request."""
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        head = f"POST /v1/jobs?key={key} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {client.token}\r\n"
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body[: len(body) // 2])


def hostile(clients, keys, body):
    """What no service may take; the statuses."""
    alice, path = clients["alice"], f"/v1/jobs?key={keys['alice']}"
    flipped = bytearray(body)
    flipped[len(body) // 2] ^= 1
    return {
        "noise": alice.ask("POST", path, random.randbytes(len(body)))[0],
        "truncated": alice.ask("POST", path, body[: len(body) // 2])[0],
        "a flipped bit": alice.ask("POST", path, bytes(flipped))[0],
        "too large": alice.ask("POST", path, body * 20)[0],
        "keys of another tenant": clients["bob"].ask("POST", path, body)[0],
        "no token": Client(alice.service, "fhec_0").ask("GET", "/v1/jobs")[0],
    }


def main():
    options = arguments()
    random.seed(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or pathlib.Path(temporary)
        folder.mkdir(exist_ok=True)
        figures = load(Tool(options.fhec, folder), options.requests, options.evaluators)
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        for name, value in figures.items():
            print(f"{name:36} {value}")


def load(tool, requests, evaluators):
    started = time.time()
    work = prepare(tool, requests)
    (_, *shape), pixels = read_npy(ROOT / "models/digits.npy")
    size = 1
    for n in shape:
        size *= n
    write_npy(tool.folder / "one.npy", [1, *shape], pixels[:size])
    write_npy(tool.folder / "two.npy", [2, *shape], pixels[: 2 * size])
    evaluator = tool.json("inspect", "plan.fhe")["summary"]["predicted_memory_bytes"]
    # Evaluators, and what the service has beside them. With fewer than there are tenants these take turns.
    memory = evaluators * evaluator + 192 * MIB
    service = Service(tool, memory)
    clients = {tenant: Client(service, (tool.folder / f"{tenant}.token").read_text().strip()) for tenant in TENANTS}
    keys = {tenant: upload(tool, service, tenant) for tenant in TENANTS}
    prepared = time.time()

    accepted, results, latencies, lock = {}, {}, [], threading.Lock()
    queues = {tenant: [item for item in work if item[1] == tenant] for tenant in TENANTS}

    def serve(tenant, slow):
        client = clients[tenant]
        while True:
            with lock:
                if not queues[tenant]:
                    return
                i, _, _ = queues[tenant].pop()
            body, begun = (tool.folder / f"{i}.ct").read_bytes(), time.time()
            status, data = client.ask("POST", f"/v1/jobs?key={keys[tenant]}", body, slow=slow)
            assert status in (200, 202), (status, data)
            job = json.loads(data)["id"]
            with lock:
                accepted[i] = (tenant, job)
            final = client.wait(job)
            assert final["state"] == "done", final
            status, data = client.ask("GET", f"/v1/jobs/{job}/result", slow=slow)
            assert status == 200, data
            with lock:
                results[i] = data
                latencies.append(time.time() - begun)

    failures = []

    def guarded(*args):
        try:
            serve(*args)
        except BaseException as e:  # noqa: BLE001  (told of below)
            failures.append(repr(e))

    # Of each tenant's clients one takes two seconds to send a request and as long to read a result.
    threads = [threading.Thread(target=guarded, args=(t, slow)) for t in TENANTS for slow in (0.0, 0.0, 2.0)]
    for thread in threads:
        thread.start()

    def done():
        assert not failures, failures
        return len(results)

    while done() < requests // 5:
        time.sleep(0.05)
    sample = (tool.folder / f"{work[0][0]}.ct").read_bytes()
    killed_while_sending(service, clients["alice"], keys["alice"], sample)
    killed_while_waiting(tool, service, clients["alice"])
    refused = hostile(clients, keys, sample)
    while done() < requests * 2 // 5:
        time.sleep(0.05)
    service.stop(signal.SIGKILL)
    at_kill, acknowledged = len(results), len(accepted)
    time.sleep(1)
    service.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    loaded = time.time()

    # Every acknowledged job is there, for its own tenant alone.
    assert len(accepted) == len(results) == requests
    assert len({job for _, job in accepted.values()}) == requests
    for tenant, client in clients.items():
        own = {job["id"] for job in json.loads(client.ask("GET", "/v1/jobs")[1])}
        for owner, job in accepted.values():
            assert (job in own) == (owner == tenant), (job, owner, tenant)
    owner, job = accepted[work[0][0]]
    other = next(client for tenant, client in clients.items() if tenant != owner)
    assert other.ask("GET", f"/v1/jobs/{job}/result")[0] == 404
    assert all(400 <= status < 500 for status in refused.values()), refused

    # The service is quiet again, and says what it did.
    metrics = clients["alice"].ask("GET", "/metrics")[1].decode()
    count = lambda name: sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith(name))  # noqa: E731
    for tenant, client in clients.items():
        assert tenant not in metrics and client.token not in metrics
    code = service.stop(signal.SIGTERM)
    assert code == 0, code

    # Every result answers its own request under its own tenant's key, and is right.
    worst = 0.0
    for i, tenant, exact in work:
        (tool.folder / "y.ct").write_bytes(results[i])
        tool.run("decrypt", "client.fhe", "--secret", f"{tenant}.key", "--input", "y.ct", "--request", f"{i}.ct", "-o", "y.npy", "--force")
        _, scores = read_npy(tool.folder / "y.npy")
        worst = max(worst, *(abs(a - b) for a, b in zip(scores, exact, strict=True)))
    assert worst < 0.01, worst
    assert max(service.peaks) <= memory, (service.peaks, memory)

    latencies.sort()
    refusals = {status: sum(client.refusals.get(status, 0) for client in clients.values()) for status in (429, 503)}
    return {
        "requests, right and of their tenant": requests,
        "largest error": f"{worst:.1e}",
        "results at the kill, acknowledged": f"{at_kill}, {acknowledged}",
        "connections broken by the kill": sum(client.broken for client in clients.values()),
        "jobs recovered at the restart": int(count("fhec_jobs_recovered_total")),
        "refused, to be sent again (429, 503)": f"{refusals[429]}, {refusals[503]}",
        "hostile": ", ".join(f"{what}: {status}" for what, status in refused.items()),
        "evaluators unloaded since the restart": int(count("fhec_evaluators_evicted_total")),
        "memory: bound, peaks (MiB)": f"{memory // MIB}, {', '.join(str(peak // MIB) for peak in service.peaks)}",
        "one evaluator, predicted (MiB)": evaluator // MIB,
        "latency: median, 95 % (s)": f"{latencies[len(latencies) // 2]:.2f}, {latencies[len(latencies) * 95 // 100]:.2f}",
        "load, with the restart (s)": f"{loaded - prepared:.1f}",
        "requests per second": f"{requests / (loaded - prepared):.2f}",
        "preparation (s)": f"{prepared - started:.1f}",
        "whole (s)": f"{time.time() - started:.1f}",
    }


if __name__ == "__main__":
    main()
