/* tests/model/tested.h - the families of which tests/model/FAMILY has golden cases, beside the native one; each has a
 * case `published`. */
#ifndef TESTS_MODEL_TESTED_H
#define TESTS_MODEL_TESTED_H

static const char *const families_tested[] = { "qwen3_moe", "qwen3_vl_moe", "glm4_moe", "glm4v_moe", "glm46v",
                                               "smollm3",
                                               "mllama", "glm4v", "glm4", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "llama",
                                               "qwen2", "idefics",
                                               "qwen3", "phi3", "kosmos-2", "smolvlm", "llava_next",
                                               "llava_onevision", "gemma3_text", "gemma3", "llava", "mistral",
                                               "pixtral", "internvl", "idefics2", "deepseek_vl", "gemma", "gemma2",
                                               "paligemma", "internvl_chat", "glm_ocr" };
enum { N_FAMILIES_TESTED = sizeof families_tested / sizeof *families_tested };

#endif
