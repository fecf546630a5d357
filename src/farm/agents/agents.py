"""Runs RQD agents for a farm on one machine, and sees that nothing of them outlives it.

    agents.py keep FOLDER NAME...   starts one agent per name and stays until standard input ends
    agents.py run ADDRESS OPTION... is one agent, bound to ADDRESS

FOLDER/NAME holds the agent's rqd.conf, its temporary folder tmp, its output agent.log, and the file
connected from when it may take frames. The name is the agent's loopback address. Standard input is a pipe that the farm holds: it ends when the farm stops
and also when the farm is killed. The folder is removed at the end.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading

PR_SET_PDEATHSIG = 1


def keep(folder, names):
    # Whatever would end this program ends the waiting below, so that it cleans up first.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end_input())
    agents = {}
    try:
        for name in names:
            agents[name] = start(folder, name)
        for name, agent in agents.items():
            threading.Thread(target=tell_end, args=(name, agent), daemon=True).start()
        wait_for_end()
    finally:
        for agent in agents.values():
            kill_group(agent.pid)
        kill_frames(folder)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_end():
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass


def end_input():
    try:
        os.close(0)
    except OSError:
        pass


def start(folder, name):
    home = os.path.join(folder, name)
    with open(os.path.join(home, "agent.log"), "wb") as log:
        return subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "run", name, "-c", os.path.join(home, "rqd.conf"), "--nimbyoff"],
            # Proxies and interpreter settings of whoever runs the farm are not the agent's.
            env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "TMPDIR": os.path.join(home, "tmp")},
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # An agent that is told to kill a frame too early kills its own process group.
            start_new_session=True,
        )


def tell_end(name, agent):
    """One line for the farm when an agent ends, whyever."""
    status = agent.wait()
    try:
        os.write(1, f"{name} {status}\n".encode())
    except OSError:
        pass


def kill_group(number):
    try:
        os.killpg(number, signal.SIGKILL)
    except ProcessLookupError:
        pass


def kill_frames(folder):
    """Each frame runs in a session of its own, which its agent's end does not end."""
    sessions = set()
    for _ in range(100):
        # Kept from round to round: what was forked while its parent died no longer tells whose it is.
        sessions.update(session for number, session in processes() if is_ours(number, folder))
        numbers = [number for number, session in processes() if session in sessions]
        if not numbers:
            return
        for number in numbers:
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                pass
        threading.Event().wait(0.02)


def processes():
    """Process and session numbers of all that is alive."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as stat:
                # The name, in parentheses, may hold anything.
                fields = stat.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[0] not in (b"Z", b"X"):
            yield int(entry), int(fields[3])


def is_ours(number, folder):
    """A process of a frame: in the agent's temporary folder or from a script there, with its environment."""
    inside = folder + "/"
    try:
        with open(f"/proc/{number}/environ", "rb") as environment:
            if b"\0zframe=" not in b"\0" + environment.read():
                return False
        if (os.readlink(f"/proc/{number}/cwd") + "/").startswith(inside):
            return True
        with open(f"/proc/{number}/cmdline", "rb") as command:
            return inside.encode() in command.read()
    except OSError:
        return False


def run(address, options):
    # Without the keeper nobody would end this agent.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The agent reads its options and its file while it is imported.
    sys.argv = ["rqd", *options]
    import rqd.rqconstants
    import rqd.rqutil

    rqd.rqconstants.RQD_MIN_PING_INTERVAL_SEC = 1
    rqd.rqconstants.RQD_MAX_PING_INTERVAL_SEC = 1
    rqd.rqconstants.RSS_UPDATE_INTERVAL = 1
    rqd.rqconstants.RQD_GRPC_CONNECTION_ATTEMPT_SLEEP_SEC = 1
    # Binds this address instead of an interface's, which needs no rights.
    rqd.rqconstants.RQD_NETWORK_INTERFACE = "address"
    rqd.rqutil.getInterfaceIp = lambda *_, **__: address
    from rqd.__main__ import main
    from rqd.rqcore import RqCore

    # A frame that arrives before Cuebot has answered the boot report fails or is never reported.
    connected = RqCore.grpcConnected

    def tell_connected(core):
        connected(core)
        open("connected", "w").close()

    RqCore.grpcConnected = tell_connected
    main()


if __name__ == "__main__":
    if sys.argv[1] == "keep":
        keep(sys.argv[2], sys.argv[3:])
    else:
        run(sys.argv[2], sys.argv[3:])
