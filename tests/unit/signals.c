/* Signals that wait: held, seen, delivered, and by whom. */
#include "base/signals.h"

#include <errno.h>
#include <sys/wait.h>

#include "unit.h"

static const int held_numbers[] = {SIGINT, SIGTERM, SIGHUP};
#define HELD_COUNT (sizeof held_numbers / sizeof held_numbers[0])

static volatile sig_atomic_t caught;

static void on_signal(int number)
{
    caught = number;
}

static int catch_them(void **state)
{
    (void)state;
    caught = 0;
    for (size_t i = 0; i < HELD_COUNT; i++)
        if (signal(held_numbers[i], on_signal) == SIG_ERR)
            return -1;
    return 0;
}

static void test_each_waits(void **state)
{
    sigset_t saved;

    (void)state;
    for (size_t i = 0; i < HELD_COUNT; i++) {
        caught = 0;
        signals_hold(&saved);
        assert_false(signals_waiting());
        assert_int_equal(raise(held_numbers[i]), 0);
        assert_int_equal(caught, 0);
        assert_true(signals_waiting());
        errno = EXDEV;
        signals_release(&saved);
        assert_int_equal(errno, EXDEV);
        assert_int_equal(caught, held_numbers[i]);
        assert_false(signals_waiting());
    }
}

static void test_pairs_nest(void **state)
{
    sigset_t outer;
    sigset_t inner;

    (void)state;
    signals_hold(&outer);
    signals_hold(&inner);
    assert_int_equal(raise(SIGTERM), 0);
    signals_release(&inner);
    assert_int_equal(caught, 0);
    signals_release(&outer);
    assert_int_equal(caught, SIGTERM);
}

/* nohup: nobody is to stop waiting for a SIGHUP that does nothing. */
static void test_ignored_does_not_count(void **state)
{
    sigset_t saved;

    (void)state;
    assert_ptr_not_equal(signal(SIGHUP, SIG_IGN), SIG_ERR);
    signals_hold(&saved);
    assert_int_equal(raise(SIGHUP), 0);
    assert_false(signals_waiting());
    assert_int_equal(raise(SIGINT), 0);
    assert_true(signals_waiting());
    signals_release(&saved);
    assert_int_equal(caught, SIGINT);
}

/* What is not caught ends the process, with that signal, and only behind the release. */
static void test_uncaught_ends_it(void **state)
{
    int status = 0;
    int ends[2];
    char word = 0;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        sigset_t saved;

        (void)signal(SIGINT, SIG_DFL);
        signals_hold(&saved);
        (void)raise(SIGINT);
        if (write(ends[1], "1", 1) != 1)
            _exit(1);
        signals_release(&saved);
        _exit(2);
    }
    assert_true(pid > 0);
    (void)close(ends[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGINT);
    assert_int_equal(read(ends[0], &word, 1), 1);
    (void)close(ends[0]);
}

/* The way out of something that hangs. */
static void test_quit_is_not_held(void **state)
{
    sigset_t saved;

    (void)state;
    assert_ptr_not_equal(signal(SIGQUIT, on_signal), SIG_ERR);
    signals_hold(&saved);
    assert_int_equal(raise(SIGQUIT), 0);
    assert_int_equal(caught, SIGQUIT);
    signals_release(&saved);
    assert_ptr_not_equal(signal(SIGQUIT, SIG_DFL), SIG_ERR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_each_waits, catch_them),
        cmocka_unit_test_setup(test_pairs_nest, catch_them),
        cmocka_unit_test_setup(test_ignored_does_not_count, catch_them),
        cmocka_unit_test_setup(test_uncaught_ends_it, catch_them),
        cmocka_unit_test_setup(test_quit_is_not_held, catch_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
