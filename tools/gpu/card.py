"""What the card does while it is measured: its clocks, power and temperature, as they are found."""
import subprocess

FIELDS = {"sm_mhz": "clocks.sm", "memory_mhz": "clocks.mem", "watts": "power.draw",
          "celsius": "temperature.gpu"}


def parse(line):
    """Numbers by name; what the driver does not tell is left out."""
    found = {}
    for name, word in zip(FIELDS, line.split(",")):
        try:
            found[name] = float(word)
        except ValueError:
            continue
    return found


def state():
    command = ["nvidia-smi", f"--query-gpu={','.join(FIELDS.values())}",
               "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return parse(done.stdout.splitlines()[0]) if done.returncode == 0 and done.stdout else {}


def summary(states):
    """The ranges of a row's states, as words; empty when nothing was told."""
    words = []
    for name, unit in (("sm_mhz", "MHz"), ("watts", "W"), ("celsius", "°C")):
        values = [s[name] for s in states if name in s]
        if values:
            words.append(f"{min(values):.0f}-{max(values):.0f} {unit}")
    return ", ".join(words)
