/* What launchers say in the environment. */
#include "quern_test.h"

#include "host/dist/environment.h"

#include <stdlib.h>
#include <string.h>

static const char *const variables[] = {
    "RANK",        "WORLD_SIZE",           "LOCAL_RANK",           "MASTER_ADDR",
    "MASTER_PORT", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"};

/* "RANK=3 WORLD_SIZE=4"; nothing else of these is set. */
static void set_variables(const char *settings) {
    char copy[300], *rest = NULL;
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) unsetenv(variables[i]);
    REQUIRE(strlen(settings) < sizeof copy);
    memcpy(copy, settings, strlen(settings) + 1);
    for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(word, '=');
        REQUIRE(value != NULL);
        *value = 0;
        setenv(word, value + 1, 1);
    }
}

TEST_CASE(WorldPlace, is_what_torchrun_says) {
    world_place p;
    set_variables("RANK=5 WORLD_SIZE=8 LOCAL_RANK=1 MASTER_ADDR=node-0 MASTER_PORT=29500");
    REQUIRE_OK(world_place_read(&p));
    CHECK(p.rank == 5 && p.size == 8 && p.local_rank == 1 && p.port == 29500);
    CHECK_TEXT(p.address, "node-0");
}

TEST_CASE(WorldPlace, is_what_open_mpi_says) {
    world_place p;
    set_variables("OMPI_COMM_WORLD_RANK=2 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=0 "
                  "MASTER_ADDR=::1 MASTER_PORT=1");
    REQUIRE_OK(world_place_read(&p));
    CHECK(p.rank == 2 && p.size == 4 && p.local_rank == 0 && p.port == 1);
    CHECK_TEXT(p.address, "::1");
}

TEST_CASE(WorldPlace, is_a_world_of_one_without_a_launcher) {
    world_place p;
    set_variables("MASTER_ADDR=left-over MASTER_PORT=nonsense LOCAL_RANK=7");
    REQUIRE_OK(world_place_read(&p));
    CHECK(p.rank == 0 && p.size == 1 && p.local_rank == 0 && p.port == 0);
    CHECK_TEXT(p.address, "");
    set_variables("RANK=0 WORLD_SIZE=1");
    REQUIRE_OK(world_place_read(&p));
    CHECK(p.rank == 0 && p.size == 1 && p.local_rank == 0);
}

TEST_CASE(WorldPlace, without_a_local_rank_is_one_machine) {
    world_place p;
    set_variables("RANK=3 WORLD_SIZE=4 MASTER_ADDR=localhost MASTER_PORT=29500");
    REQUIRE_OK(world_place_read(&p));
    CHECK(p.local_rank == 3);
}

TEST_CASE(WorldPlace, that_is_half_said_or_nonsense_names_the_variable) {
    static const struct {
        const char *settings, *words;
    } bad[] = {
        {"RANK=1", "WORLD_SIZE is not set"},
        {"WORLD_SIZE=2", "RANK is not set"},
        {"RANK=0 WORLD_SIZE=2", "MASTER_ADDR is not set"},
        {"RANK=0 WORLD_SIZE=2 MASTER_ADDR=a", "MASTER_PORT is not set"},
        {"RANK=0 WORLD_SIZE=2 MASTER_ADDR= MASTER_PORT=9", "needs the address"},
        {"RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=0", "MASTER_PORT is \"0\""},
        {"RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=65536", "MASTER_PORT is \"65536\""},
        {"RANK=2 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=9", "RANK is \"2\", not a number from 0 "},
        {"RANK=-1 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=9", "RANK is \"-1\""},
        {"RANK=0x1 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=9", "RANK is \"0x1\""},
        {"RANK= WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=9", "RANK is \"\""},
        {"RANK=0 WORLD_SIZE=0", "WORLD_SIZE is \"0\""},
        {"RANK=0 WORLD_SIZE=4097", "WORLD_SIZE is \"4097\""},
        {"RANK=0 WORLD_SIZE=99999999999999999999", "WORLD_SIZE is \"9999"},
        {"RANK=1 WORLD_SIZE=2 LOCAL_RANK=2 MASTER_ADDR=a MASTER_PORT=9", "LOCAL_RANK is \"2\""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        world_place p;
        set_variables(bad[i].settings);
        CHECK_STATUS(world_place_read(&p), QUERN_INVALID);
        CHECK_ERROR_HAS(bad[i].words);
    }
    char longer[290] = "RANK=0 WORLD_SIZE=2 MASTER_PORT=9 MASTER_ADDR=";
    memset(longer + strlen(longer), 'x', sizeof longer - 1 - strlen(longer));
    longer[sizeof longer - 1] = 0;
    world_place p;
    memset(longer + 46, 'x', 243);
    set_variables(longer);
    REQUIRE_OK(world_place_read(&p));
    setenv("MASTER_ADDR",
           "0123456789012345678901234567890123456789012345678901234567890123456789"
           "0123456789012345678901234567890123456789012345678901234567890123456789"
           "0123456789012345678901234567890123456789012345678901234567890123456789"
           "0123456789012345678901234567890123456789012345",
           1);
    CHECK_STATUS(world_place_read(&p), QUERN_INVALID);
    CHECK_ERROR_HAS("MASTER_ADDR has 256 characters, at most 255");
    set_variables("");
}
