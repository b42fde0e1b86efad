/* The JSON reader: values, every refusal, rounding of numbers, limits, random damage.
 *
 *     cc -Iinclude -Isrc/core tests/c/test_json.c src/core/{common,json}.c && ./a.out
 *
 * Exits with 1 and says what failed. Made to run under -fsanitize=address,undefined as well: texts lie in allocations
 * of their exact size. A refusal must name its own cause. Another reader is compared in test_modelfile.py. */
#include "check.h"
#include "json.h"

#include <locale.h>

static sc_status parse(const char *text, size_t bytes, sc_json_document **document, sc_error *error)
{
    char *copy = exact_copy(text, bytes);
    sc_status status = sc_json_parse(copy, bytes, "the text", &sc_c_library, document, error);
    free(copy); /* the document keeps nothing of it */
    return status;
}

static void json_refuses(const char *text, size_t bytes, const char *cause)
{
    sc_error error = {0};
    sc_json_document *document;
    sc_status status = parse(text, bytes, &document, &error);
    CHECK(status == SC_BAD_GRAPH && error.status == status && document == NULL, "%d for %.60s", (int)status, text);
    check_message(&error, cause);
    check_message(&error, "the text: ");
    CHECK(sc_json_parse(text, bytes, "the text", &sc_c_library, &document, NULL) == status, "%.60s", text);
}

static sc_json_document *json_accepts(const char *text, size_t bytes)
{
    sc_error error = {0};
    sc_json_document *document;
    CHECK(parse(text, bytes, &document, &error) == SC_OK, "%.60s: %s", text, error.message);
    return document;
}

static void test_json_values(void)
{
    const char text[] = " {\"a\" : [1,-2.5e1,true,false,null,\"x\"], \"b\":{},\"\":[] ,"
                        "\"\\u00e9\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t"
                        "\\u0041\\u00e9\\u20AC\\ud83d\\uDE00\xF0\x9F\x98\x80\"}\r\n\t ";
    sc_json_document *document = json_accepts(text, sizeof text - 1);
    const sc_json *root = sc_json_root(document), *a = sc_json_get(root, "a"), *item = a->child;
    CHECK(root->type == SC_JSON_OBJECT && root->count == 4 && root->key == NULL && root->next == NULL, "root");
    CHECK(a->type == SC_JSON_ARRAY && a->count == 6 && strcmp(a->key, "a") == 0, "a");
    CHECK(item->type == SC_JSON_NUMBER && item->number == 1 && item->key == NULL, "1");
    item = item->next;
    CHECK(item->type == SC_JSON_NUMBER && item->number == -25, "-2.5e1");
    item = item->next;
    CHECK(item->type == SC_JSON_BOOL && item->number == 1, "true");
    item = item->next;
    CHECK(item->type == SC_JSON_BOOL && item->number == 0, "false");
    item = item->next;
    CHECK(item->type == SC_JSON_NULL, "null");
    item = item->next;
    CHECK(item->type == SC_JSON_STRING && strcmp(item->string, "x") == 0 && item->next == NULL, "x");
    CHECK(sc_json_get(root, "b")->type == SC_JSON_OBJECT && sc_json_get(root, "b")->child == NULL, "b");
    CHECK(sc_json_get(root, "")->type == SC_JSON_ARRAY && sc_json_get(root, "")->count == 0, "empty key");
    CHECK(strcmp(sc_json_get(root, "\xC3\xA9")->string,
                 "\"\\/\b\f\n\r\tA\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xF0\x9F\x98\x80") == 0, "escapes");
    CHECK(sc_json_get(root, "absent") == NULL && sc_json_get(a, "a") == NULL && sc_json_get(NULL, "a") == NULL, "get");
    sc_json_free(document);
    sc_json_free(NULL);
}

static void test_json_refusals(void)
{
    static const struct {
        const char *text, *cause;
    } cases[] = {
        {"", "at byte 0: a value is missing"}, {" ", "at byte 1: a value is missing"}, {"nul", "expected a value"},
        {"nulll", "after the end"}, {"True", "expected a value"}, {"NaN", "expected a value"},
        {"Infinity", "expected a value"}, {"-Infinity", "lacks digits"}, {"+1", "expected a value"},
        {".5", "expected a value"}, {"1.", "lacks digits"}, {"1.e3", "lacks digits"}, {"1e", "lacks digits"},
        {"1e+", "lacks digits"}, {"-", "lacks digits"}, {"01", "after the end"}, {"-01", "after the end"},
        {"0x10", "after the end"}, {"1 2", "after the end"}, {"1e309", "range of a double"},
        {"-1e999999999999", "range of a double"},
        {"[1", "',' or ']'"}, {"[1,", "missing"}, {"[1,]", "expected a value"},
        {"[,1]", "expected a value"}, {"[1 2]", "',' or ']'"}, {"[1}", "',' or ']'"}, {"]", "expected a value"},
        {"{", "a key"}, {"{1:2}", "a key"}, {"{a:1}", "a key"}, {"{'a':1}", "a key"}, {"{\"a\"}", "':'"},
        {"{\"a\" 1}", "':'"}, {"{\"a\":}", "expected a value"}, {"{\"a\":1,}", "a key"}, {"{\"a\":1]", "',' or '}'"},
        {"{\"a\":1 \"b\":2}", "',' or '}'"}, {"{} {}", "after the end"}, {"[]]", "after the end"},
        {"{\"a\":1,\"b\":2,\"a\":3}", "duplicate key \"a\""},
        {"[{\"x\":{\"a\":1,\"\\u0061\":2}}]", "duplicate key \"a\""},
        {"{\"\":1,\"\":2}", "duplicate key"}, {"\"abc", "without an end"}, {"\"abc\\", "unknown escape"},
        {"\"abc\\\"", "without an end"}, {"\"\\x41\"", "unknown escape"}, {"\"\\u12\"", "hexadecimal"},
        {"\"\\u12g4\"", "hexadecimal"}, {"\"\\u0000\"", "NUL"}, {"\"\\ud800\"", "surrogate"},
        {"\"\\ud800x\"", "surrogate"}, {"\"\\ud800\\n\"", "surrogate"}, {"\"\\ud800\\ud800\"", "surrogate"},
        {"\"\\udc00\"", "surrogate"}, {"\"\\udc00\\ud800\"", "surrogate"},
        {"\"\\udc00\\udc00\"", "surrogate"}, {"\"\t\"", "control character"},
        {"\"\n\"", "control character"}, {"\"\x80\"", "UTF-8"}, {"\"\xC0\xAF\"", "UTF-8"}, {"\"\xC3\"", "UTF-8"},
        {"\"\xE0\x80\x80\"", "UTF-8"}, {"\"\xED\xA0\x80\"", "UTF-8"}, {"\"\xF0\x80\x80\x80\"", "UTF-8"},
        {"\"\xF4\x90\x80\x80\"", "UTF-8"}, {"\"\xF5\x80\x80\x80\"", "UTF-8"}, {"\"\xE2\x82", "UTF-8"},
        {"\xEF\xBB\xBF{}", "expected a value"}, {"{\"\xFF\":1}", "UTF-8"}, {"//\n1", "expected a value"},
        {"\f1", "expected a value"}, {"\xC2\xA0" "1", "expected a value"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_refuses(cases[i].text, strlen(cases[i].text), cases[i].cause);
    }
    json_refuses("\"a\0b\"", 5, "NUL");
    json_refuses("1\0", 2, "after the end");
    json_refuses("\0", 1, "expected a value");
    sc_json_document *document;
    sc_error error;
    CHECK(sc_json_parse(NULL, 1, "the text", &sc_c_library, &document, &error) == SC_BAD_ARGUMENT && document == NULL, "NULL");
    CHECK(sc_json_parse("", SC_JSON_MAX_BYTES + 1, "the text", &sc_c_library, &document, &error) == SC_BAD_GRAPH, "size");
    check_message(&error, "at most");
}

/* The compiler's own conversion is the reference. */
#define DOUBLE(literal) {#literal, literal}

static void test_json_numbers(void)
{
    static const struct {
        const char *text;
        double value;
    } cases[] = {DOUBLE(0e0), DOUBLE(0.1), DOUBLE(-0.0), DOUBLE(123456789012345678e0), DOUBLE(1e22), DOUBLE(1e23),
                 DOUBLE(9007199254740993e0), DOUBLE(9007199254740992.99999999999), DOUBLE(2.2250738585072011e-308),
                 DOUBLE(2.2250738585072014E-308), DOUBLE(4.9e-324), DOUBLE(1.7976931348623157e+308),
                 DOUBLE(6.02214076e23), DOUBLE(3.141592653589793238462643383279502884197),
                 DOUBLE(1.00000000000000011102230246251565404236316680908203125),
                 DOUBLE(1.00000000000000011102230246251565404236316680908203126),
                 DOUBLE(1.00000000000000033306690738754696212708950042724609375)};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sc_json_document *document = json_accepts(cases[i].text, strlen(cases[i].text));
        double value = sc_json_root(document)->number;
        CHECK(memcmp(&value, &cases[i].value, sizeof value) == 0, "%s became %a", cases[i].text, value);
        sc_json_free(document);
    }
    size_t bytes;
    char *digits = repeat("1", 1025, &bytes);
    json_refuses(digits, bytes, "more than 1024 characters");
    digits[0] = '0'; /* 0.111... of 1024 characters */
    digits[1] = '.';
    sc_json_document *document = json_accepts(digits, 1024);
    CHECK(sc_json_root(document)->number == 1.0 / 9, "%a", sc_json_root(document)->number);
    sc_json_free(document);
    free(digits);
}

static void test_json_size(void)
{
    static const struct {
        const char *text;
        bool good;
        size_t size;
    } cases[] = {{"0", true, 0}, {"-0", true, 0}, {"7", true, 7}, {"1e3", true, 1000},
                 {"9007199254740992", true, 1ull << 53},
                 {"9007199254740994", false, 0}, {"-1", false, 0}, {"1.5", false, 0}, {"1e300", false, 0},
                 {"4.9e-324", false, 0}, {"\"7\"", false, 0}, {"true", false, 0}, {"null", false, 0}, {"[]", false, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sc_json_document *document = json_accepts(cases[i].text, strlen(cases[i].text));
        size_t size = 12345;
        CHECK(sc_json_size(sc_json_root(document), &size) == cases[i].good, "%s", cases[i].text);
        CHECK(size == (cases[i].good ? cases[i].size : 12345), "%s: %zu", cases[i].text, size);
        sc_json_free(document);
    }
    CHECK(!sc_json_size(NULL, NULL), "NULL");
}

static void test_json_locale(void)
{
    static const char *const names[] = {"", "de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "ru_RU.UTF-8"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (setlocale(LC_ALL, names[i]) != NULL && localeconv()->decimal_point[0] == ',') {
            test_json_numbers();
            setlocale(LC_ALL, "C");
            return;
        }
    }
    printf("note: no locale with a decimal comma is installed; numbers were read in \"C\" only\n");
}

static void test_json_depth(void)
{
    size_t bytes;
    char *opens = repeat("[", 65, &bytes), *closes = repeat("]", 65, &bytes), text[130];
    memcpy(text, opens, 64);
    memcpy(text + 64, closes, 64);
    sc_json_free(json_accepts(text, 128));
    memcpy(text, opens, 65);
    memcpy(text + 65, closes, 65);
    json_refuses(text, 130, "nested too deeply");
    free(opens);
    free(closes);
    opens = repeat("[", 1000000, &bytes);
    json_refuses(opens, bytes, "nested too deeply");
    free(opens);
    opens = repeat("{\"a\":[", 500000, &bytes);
    json_refuses(opens, bytes, "nested too deeply");
    free(opens);
    opens = repeat("[],", (1 << 20) + 1, &bytes);
    json_refuses(opens, bytes, "more than 1048576 JSON values");
    free(opens);
    opens = repeat(",\"\\\"[{", 100, &bytes); /* brackets inside strings count for nothing */
    opens[0] = '[';
    json_refuses(opens, bytes, "expected ',' or ']'");
    free(opens);
}

/* A million keys, equal but for their last digits: in order, then one of them twice. */
static void test_json_many_keys(void)
{
    const size_t count = 1000000;
    char *text = malloc(count * 32 + 2), *at = text;
    CHECK(text != NULL, "memory");
    *at++ = '{';
    for (size_t i = 0; i < count; i++) {
        at += sprintf(at, "\"layer.weight.%zu\":0%s", i, i + 1 < count ? "," : "}");
    }
    size_t bytes = (size_t)(at - text);
    sc_json_document *document = json_accepts(text, bytes);
    CHECK(sc_json_root(document)->count == count, "%zu", sc_json_root(document)->count);
    sc_json_free(document);
    at = strstr(text + bytes - 40, "999999");
    memcpy(at, "500000", 6);
    json_refuses(text, bytes, "duplicate key \"layer.weight.500000\"");
    free(text);
}

static void test_random_json(void)
{
    static const char text[] = "{\"inputs\":[{\"name\":\"x\",\"shape\":[null,64]}],\"nodes\":[{\"op\":\"lstm\","
                               "\"outputs\":[\"y\",null],\"attrs\":{\"units\":128,\"reverse\":true,"
                               "\"activation\":[\"tanh\",0.5,-1e-3]}}],"
                               "\"text\":\"\\u00e9\\ud83d\\ude00\\n\xE2\x82\xAC\",\"empty\":[{},[]]}";
    char work[sizeof text + 128];
    size_t accepted = 0;
    for (int i = 0; i < 60000; i++) {
        sc_json_document *document;
        sc_error error = {0};
        memcpy(work, text, sizeof text - 1);
        size_t made = damage(work, sizeof text - 1);
        sc_status status = parse(work, made, &document, &error);
        CHECK(status == SC_OK ? document != NULL : status == SC_BAD_GRAPH && document == NULL, "%s", error.message);
        accepted += status == SC_OK;
        sc_json_free(document);
    }
    CHECK(accepted > 1000 && accepted < 59000, "%zu of 60000 accepted: the damage tests nothing", accepted);
}

int main(void)
{
    test_json_values();
    test_json_refusals();
    test_json_numbers();
    test_json_size();
    test_json_locale();
    test_json_depth();
    test_json_many_keys();
    test_random_json();
    printf("test_json: all passed\n");
    return 0;
}
