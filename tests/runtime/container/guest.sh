# Podman's limits under cgroups v2 for an ordinary user with a delegated group: memory, processes, processors.
# Usage, from the root of the checkout: scripts/in_a_guest.sh tests/runtime/container/guest.sh
# It takes many minutes: the machine is emulated, and the tests' limits of time are longer by FAIRGRID_TEST_SLOWER.
export PYTHONDONTWRITEBYTECODE=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 FAIRGRID_TEST_SLOWER=15
cases="podman and (too_much_memory or lives_through or computes_too_much or two_busy or fork_bomb or cancelled_job_leaves)"
tests="-p pytest_asyncio.plugin -p pytest_timeout -p no:cacheprovider -v -s tests/runtime/container/test_sandbox.py"
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
cat >/var/tmp/worker.sh <<END
echo \$\$ >/sys/fs/cgroup/user/worker/cgroup.procs
exec setpriv --reuid=4242 --regid=4242 --clear-groups env HOME=/var/tmp/home XDG_RUNTIME_DIR=/run/user/4242 \\
  FAIRGRID_CACHE=/var/tmp/home/cache .venv/bin/python -m pytest $tests --basetemp /var/tmp/home/tests -k "$cases"
END
/bin/bash /var/tmp/worker.sh
