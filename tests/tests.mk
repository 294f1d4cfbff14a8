# tests/tests.mk - what runs the tests; included by the Makefile.

test: test-c test-api ## every test, ending in a line that counts them

c-tests: $(TESTS) ## build the C tests

test-c: $(TESTS) $O/openautoglm ## the C tests alone
	@tests/run.sh $(TESTS)

.PHONY: test c-tests test-c

bench: $O/tests/bench/ops_bench ## speed of the kernels as shares of this machine's peaks
	$O/tests/bench/ops_bench

.PHONY: bench
