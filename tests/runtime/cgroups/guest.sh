# Native jobs under cgroups v2, as root and as an ordinary user with a delegated group; and podman of that user.
# Usage, from the root of the checkout: scripts/in_a_guest.sh tests/runtime/cgroups/guest.sh
# It takes some minutes: the machine is emulated. The tests' own limits of time are lifted as far as they can be.
# Plugins that nobody needs here take minutes to load.
export PYTHONDONTWRITEBYTECODE=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
cases="(memory_beyond or processes_beyond or processor_time) and machine or cancelling"
tests="-p pytest_asyncio.plugin -p pytest_timeout -p no:cacheprovider -q --timeout 900 tests/runtime/process/test_sandbox.py"
failed=0
.venv/bin/python -m pytest $tests -k "$cases" || failed=1
# What a service manager does for a service with Delegate=yes.
echo "+cpu +memory +pids" >/sys/fs/cgroup/cgroup.subtree_control
mkdir -p /sys/fs/cgroup/user/worker
echo "+cpu +memory +pids" >/sys/fs/cgroup/user/cgroup.subtree_control
chown -R 4242:4242 /sys/fs/cgroup/user/worker
chown 4242 /sys/fs/cgroup/user/cgroup.procs
echo "worker:x:4242:4242::/var/tmp/home:/bin/bash" >>/etc/passwd
echo "worker:x:4242:" >>/etc/group
echo "worker:200000:65536" | tee -a /etc/subuid >>/etc/subgid
mkdir -p /var/tmp/home /run/user/4242
chown 4242:4242 /var/tmp/home /run/user/4242
# An interpreter below root's home must be reachable.
chmod o+x "$HOME"
cat >/var/tmp/probe.py <<END
import asyncio, sys
from fairgrid.runtime.catalogue import CATALOGUE
from fairgrid.runtime.container.provider import provider
from fairgrid.runtime.container.settings import ContainerSettings
probe = asyncio.run(provider(CATALOGUE["oci/linux-x86_64"], ContainerSettings(engine="podman")).probe())
sys.stdout.write(f"{probe}\n")
sys.exit(not probe.works)
END
cat >/var/tmp/worker.sh <<END
echo \$\$ >/sys/fs/cgroup/user/worker/cgroup.procs
exec setpriv --reuid=4242 --regid=4242 --clear-groups env HOME=/var/tmp/home XDG_RUNTIME_DIR=/run/user/4242 /bin/bash -c '
  .venv/bin/python -m pytest $tests --basetemp /var/tmp/home/tests -k "$cases" || exit 1
  FAIRGRID_CACHE=/var/tmp/home/cache .venv/bin/python /var/tmp/probe.py'
END
/bin/bash /var/tmp/worker.sh || failed=1
exit $failed
