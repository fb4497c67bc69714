"""A Ray cluster of three nodes on this machine, serving the lab network behind one address; one command, no GPU.

    python examples/ray/three_nodes.py              asks three questions and ends
    python examples/ray/three_nodes.py --stay       goes on serving until Ctrl-C

Needs the extra `ray`. The nodes are processes with a part of the machine's cores each; on real machines the same takes
`ray start` on each of them (examples/ray/cluster.yaml). The gateway is a process of its own, outside of the cluster.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import urllib.request

from disrouter.evaluation.suites import suite_of

# Read when Ray is imported, and by every node that is started from here.
os.environ |= {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def main() -> None:
    """Start three nodes and a gateway, ask, and end all of them."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--stay", action="store_true", help="serve until Ctrl-C")
    stay = options.parse_args().stay

    from ray.cluster_utils import Cluster

    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))  # both end the nodes, too
    print("starting three nodes …", flush=True)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2)
        serve(cluster.address, stay=stay)
    except KeyboardInterrupt:
        print("ending")
    finally:
        cluster.shutdown()


def serve(address: str, *, stay: bool) -> None:
    """Run a gateway on a cluster and ask it."""
    command = [sys.executable, "-m", "disrouter", "serve", "--network", "lab", "--port", "0"]
    gateway = subprocess.Popen(
        [*command, "--engine", "ray", "--ray-address", address], stderr=subprocess.PIPE, text=True
    )
    try:
        assert gateway.stderr is not None
        for line in gateway.stderr:
            print(line, end="", flush=True)
            if "served at" in line:
                break
        else:
            raise SystemExit(gateway.wait() or 1)
        url = line.split("served at ")[1].strip()
        for query in suite_of("lab").queries("in", 7, 3):
            print(f"{query.text!r} ({query.dataset}): {ask(url, query.text)}; right is {query.reference}", flush=True)
        if stay:
            gateway.wait()
    finally:
        gateway.terminate()
        gateway.wait()
        if gateway.stderr is not None:
            gateway.stderr.close()


def ask(url: str, question: str) -> str:
    """Return which agent answered, and what."""
    body = {"model": "disrouter", "messages": [{"role": "user", "content": question}]}
    request = urllib.request.Request(
        f"{url}/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as reply:
        agent, answer = reply.headers["x-disrouter-agent"], json.load(reply)["choices"][0]["message"]["content"]
    return f"{agent}: {answer.strip().splitlines()[-1] if answer.strip() else answer}"


if __name__ == "__main__":
    main()
