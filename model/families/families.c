/* model/families/families.c - the families that this program knows. */
#include "model/model.h"

extern const struct family family_qwen3_moe, family_glm4_moe, family_smollm3, family_deepseek_vl;
extern const struct family family_open_autoglm, family_glm4v, family_glm4, family_qwen2_vl, family_qwen2_5_vl,
    family_mllama, family_mllama_text, family_idefics, family_qwen3_vl, family_llama, family_qwen2, family_qwen3,
    family_phi3, family_kosmos2, family_idefics3, family_llava_next, family_llava_onevision, family_gemma3,
    family_gemma3_text, family_llava, family_mistral, family_pixtral, family_internvl, family_idefics2, family_clip,
    family_siglip, family_mobilenet_v2, family_gemma, family_paligemma;

const struct family *const families[] = {
    &family_qwen3_moe, &family_glm4_moe, &family_smollm3, &family_deepseek_vl,
    &family_open_autoglm, &family_glm4v, &family_glm4, &family_qwen2_vl, &family_qwen2_5_vl, &family_mllama,
    &family_mllama_text, &family_idefics, &family_qwen3_vl, &family_llama, &family_qwen2, &family_qwen3,
    &family_phi3, &family_kosmos2, &family_idefics3, &family_llava_next, &family_llava_onevision, &family_gemma3,
    &family_gemma3_text, &family_llava, &family_mistral, &family_pixtral, &family_internvl, &family_idefics2,
    &family_clip, &family_siglip, &family_mobilenet_v2, &family_gemma, &family_paligemma,
    NULL,
};
