# The index of the developers' commands. `bin/demo` and `bin/test` install what they need; the rest expects one of them to have run.
.PHONY: help demo test fast thorough metal metal-driver sim sim-fleet sim-days crash mutants swaps drills eject-times lint format locks bench bench-converge bench-kernels bench-agent lab-down

help:            ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

demo:            ## from a fresh machine to an answer
	bin/demo
test:            ## everything, fast tests first
	bin/test
fast:            ## the fast tests only, without servers: three minutes
	bin/test --fast
thorough:        ## the live tests that take minutes: deploys killed at many moments, a server wiped and made whole
	.venv/bin/python -m pytest -m thorough
metal:           ## machines with kernels of their own: a whole site, reboots, wrong disks, power cuts in the middle
	.venv/bin/python -m pytest -s -m metal
metal-driver:    ## two real GPU driver versions on such a machine: installed, held, changed, mismatched, taken back; an hour
	.venv/bin/python -m pytest -s -m "metal and thorough" tests/metal/test_driver.py
sim:             ## the brain, the helper and the agent's judge through a million seeded schedules of faults
	.venv/bin/python -m tests.sim
sim-fleet:       ## a thousand rollouts over a hundred nodes, and ten thousand canaries
	.venv/bin/python -m tests.sim.fleet
sim-days:        ## a million node-days of the agent's judgement: nothing done from UNKNOWN, false acts as theory says; ten minutes
	.venv/bin/python -m tests.sim.days
crash:           ## the store cut, killed and refused at every moment: states recovered, errors survived
	.venv/bin/python -m tests.crash
mutants:         ## small faults put into core and store on purpose: which tests find each
	.venv/bin/python -m tests.mutants
swaps:           ## requests lost while releases change places under load, beside Triton's own reload; ten minutes, on the lab that bin/demo leaves
	.venv/bin/python -m tests.bench.swaps
drills:          ## faults of GPUs, disks and engines on the lab that bin/demo leaves: what is found, what is done, what is lost
	.venv/bin/python -m pytest -q -m live tests/live/test_truth_drills.py tests/live/test_serving_drills.py tests/live/test_save_ills.py tests/live/test_save.py
eject-times:     ## how soon a bad server is out, beside haproxy's and nginx's default checks; twelve minutes, on the lab that bin/demo leaves
	.venv/bin/python -m tests.bench.eject
lint:            ## ruff, mypy and shellcheck, as the tests run them
	.venv/bin/python -m pytest tests/test_linters.py tests/test_rooms.py -q
format:          ## put every Python file into the house's form
	.venv/bin/ruff check --fix agent deploy roles inventory kernels model_repo tests && .venv/bin/ruff format agent deploy roles inventory kernels model_repo tests
locks:           ## write the locks again (needs uv)
	locks/update.sh
bench:           ## tokens/s and P99 through nginx, gateway and Triton on the lab: ratios, with spread
	.venv/bin/python -m tests.bench.serve
bench-converge:  ## our roles against ansible-core and mitogen: virgin, no change, drifted; most of an hour (needs root)
	.venv/bin/python -m tests.bench.converge
bench-kernels:   ## on a GPU server: every kernel against its peers and goals, then a burn-in (PEER=DeepSeek's kernel.py)
	PYTHONPATH=kernels:$(PYTHONPATH) $(or $(PYTHON),python3) -m dskernels.compare $(PEER)
	PYTHONPATH=kernels:$(PYTHONPATH) $(or $(PYTHON),python3) -m dskernels.burn_in.bench
bench-agent:     ## on a GPU server: what the agent costs a loop of products, its sweep, memory and CPU (TRITON, VENV: beside a real Triton)
	PYTHONPATH=agent:$(PYTHONPATH) $(or $(PYTHON),python3) -m tests.bench.agent $(if $(TRITON),--triton $(TRITON) --venv $(VENV))
lab-down:        ## take the rehearsal servers away
	.venv/bin/dsops lab down
